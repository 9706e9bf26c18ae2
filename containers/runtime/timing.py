"""What one request took."""

from __future__ import annotations

import time
from dataclasses import dataclass

from memory import resident_bytes
from model import Piece


@dataclass
class Timing:
    """The clock of one generation. It starts when the turn does: waiting for others is counted apart."""

    asked_at: float
    started_at: float = 0.0
    first_token_at: float = 0.0
    last_token_at: float = 0.0
    tokens: int = 0
    cached_tokens: int = 0
    """Of the prompt; they were not taken in again."""

    def saw(self, piece: Piece) -> None:
        if piece.tokens == 0:
            return
        self.last_token_at = time.perf_counter()
        if self.first_token_at == 0:
            self.first_token_at = self.last_token_at
        self.tokens = piece.tokens

    def as_dict(self) -> dict[str, float]:
        """What a client may know of the generation, and what the server holds in memory at its end."""
        decoding = self.last_token_at - self.first_token_at
        return {
            "queued_ms": round(1000 * (self.started_at - self.asked_at), 2),
            "first_token_ms": round(1000 * (self.first_token_at - self.started_at), 2),
            "tokens_per_second": round((self.tokens - 1) / decoding, 2) if decoding > 0 else 0.0,
            "memory_bytes": resident_bytes(),
        }
