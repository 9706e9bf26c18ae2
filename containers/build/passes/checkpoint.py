"""The weights of a Hugging Face folder, read and replaced tensor by tensor: a model is never in memory as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from step_io import StepError

ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""What the weights of layers may be stored in, by safetensors' names."""
_LENGTH_BYTES = 8
_AT_ONCE = 1 << 26


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor lie."""

    file: str
    dtype: str
    start: int
    end: int


class Checkpoint:
    """A folder of safetensors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = _files_in(folder)
        self.places = {name: place for file in self.files for name, place in _places_in(folder, file)}
        self._open = {file: safe_open(folder / file, framework="pt") for file in self.files}

    def read(self, name: str) -> torch.Tensor:
        return self._open[self.places[name].file].get_tensor(name)

    def dtype(self, name: str) -> torch.dtype:
        """
        Raises:
            StepError: it is stored in a type that layers cannot be rounded from.
        """
        stored = self.places[name].dtype
        if stored not in FLOATS:
            raise StepError(f"{name} is stored as {stored}: the model is quantized already.", "Start from its float weights.")
        return FLOATS[stored]

    def under(self, prefix: str) -> dict[str, str]:
        """Full names of the tensors under a prefix, by what follows it."""
        return {name.removeprefix(prefix): name for name in self.places if name.startswith(prefix)}

    def refuse_broken_weights(self) -> None:
        """
        Raises:
            StepError: a weight is not a finite number.
        """
        for name in self.places:
            weight = self.read(name)
            if weight.is_floating_point() and not weight.sum(dtype=torch.float32).isfinite() and not weight.isfinite().all():
                broken = int((~weight.isfinite()).sum())
                raise StepError(
                    f"{self.places[name].file}: {broken} of {weight.numel()} numbers of {name} are NaN or infinite.",
                    "The model is damaged: fetch it again, or ask whoever trained it.",
                )


class PatchedCopy:
    """A copy of a checkpoint in the making, with the same tensors in the same types, some of other values."""

    def __init__(self, source: Checkpoint, folder: Path) -> None:
        self.source, self.folder = source, folder
        self.written: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        if source.files != [ONE_FILE]:
            (folder / INDEX).write_bytes((source.folder / INDEX).read_bytes())
        self._open = {file: self._begun(file) for file in source.files}

    def _begun(self, file: str) -> int:
        original = self.source.folder / file
        opened = os.open(self.folder / file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.truncate(opened, original.stat().st_size)
        with original.open("rb") as reading:
            os.pwrite(opened, reading.read(_header_end(original)), 0)
        return opened

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Put a tensor of the same shape in the place of the original."""
        place, stored = self.source.places[name], tensor.to(self.source.dtype(name)).cpu().contiguous()
        data = memoryview(stored.flatten().view(torch.uint8).numpy())
        if len(data) != place.end - place.start:
            raise ValueError(f"{name} has {len(data)} bytes now, it had {place.end - place.start}.")
        for start in range(0, len(data), _AT_ONCE):
            os.pwrite(self._open[place.file], data[start : start + _AT_ONCE], place.start + start)
        self.written.add(name)

    def finish(self) -> None:
        """Copy what was not replaced, and close."""
        for name in self.source.places.keys() - self.written:
            self._copy(self.source.places[name])
        for opened in self._open.values():
            os.close(opened)

    def _copy(self, place: Place) -> None:
        with (self.source.folder / place.file).open("rb") as reading:
            for start in range(place.start, place.end, _AT_ONCE):
                reading.seek(start)
                os.pwrite(self._open[place.file], reading.read(min(_AT_ONCE, place.end - start)), start)


def _files_in(folder: Path) -> list[str]:
    if (folder / ONE_FILE).exists():
        return [ONE_FILE]
    if (folder / INDEX).exists():
        return sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    raise StepError(f"{folder} has no {ONE_FILE}.", "Save the model with save_pretrained(..., safe_serialization=True).")


def _places_in(folder: Path, file: str) -> Iterator[tuple[str, Place]]:
    end_of_header = _header_end(folder / file)
    with (folder / file).open("rb") as reading:
        header = json.loads(reading.read(end_of_header)[_LENGTH_BYTES:])
    for name, entry in header.items():
        if name != "__metadata__":
            start, end = entry["data_offsets"]
            yield name, Place(file, entry["dtype"], end_of_header + start, end_of_header + end)


def _header_end(path: Path) -> int:
    with path.open("rb") as reading:
        return _LENGTH_BYTES + int.from_bytes(reading.read(_LENGTH_BYTES), "little")
