"""What a training that was killed goes on from: the adapter, the optimizer and what was measured, in one file."""

from __future__ import annotations

import os
import pickle
import time
from pathlib import Path
from typing import Any

import torch

FILE = "checkpoint.pt"
LEAST_SHARE = 20
"""Writing may take a 20th of the time at most: a checkpoint that is slow to write is written less often."""


class Checkpoints:
    """The newest checkpoint of one training; there is one file, replaced as a whole."""

    def __init__(self, folder: Path, key: str, seconds: float) -> None:
        self.path, self.key, self.seconds = folder / FILE, key, seconds
        self.written_at = time.monotonic()
        self.cost = 0.0

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self.written_at >= max(self.seconds, LEAST_SHARE * self.cost)

    def write(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint. A full disk costs the checkpoint, not the training."""
        began = time.monotonic()
        fresh = self.path.with_suffix(".tmp")
        try:
            torch.save({"key": self.key, **state}, fresh)
            os.replace(fresh, self.path)
        except (OSError, RuntimeError) as error:  # torch wraps what its writer meets
            fresh.unlink(missing_ok=True)
            print(f"No checkpoint was written: {error}", flush=True)
        self.written_at = time.monotonic()
        self.cost = self.written_at - began

    def read(self) -> dict[str, Any] | None:
        """The newest checkpoint of this very training; None where there is none, a damaged one, or one of another."""
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            if not isinstance(error, FileNotFoundError):
                print(f"The checkpoint cannot be read, training starts anew: {error}", flush=True)
            return None
        return state if isinstance(state, dict) and state.get("key") == self.key else None
