"""How many rows are in memory together: as many of a step's rows as fit, and what would fit where not even one does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from step_io import StepError

BYTES_PER_TRAINED = 16
"""Of a trained weight: float32 itself, its gradient, and the two averages of AdamW."""
TRANSIENT = 1.3
"""What backward holds for a moment, beside what forward kept for it."""
USED_SHARE = 0.7
"""Of a CPU's free memory: too much there is no error but a kill."""
DTYPE_BYTES = {"float32": 4, "bfloat16": 2}
GIB = 2**30


@dataclass(frozen=True)
class Fit:
    """How a step is cut to fit memory. Neither changes what is learnt."""

    micro_batch: int
    """Rows worked on together; the step's gradients are summed over as many of these as it takes."""
    recomputes: bool = False
    """True: activations are computed again for backward and not kept (gradient checkpointing): a third slower."""

    def smaller(self, rows: int) -> Fit | None:
        """What to try next where this does not fit; None where nothing is left to try."""
        if self.micro_batch > 1:
            return Fit(math.ceil(self.micro_batch / 2), self.recomputes)
        return None if self.recomputes else Fit(rows, recomputes=True)


def fitting(first: Fit, rows: int, works: Callable[[Fit], None]) -> Fit | None:
    """The first fit with which `works` does not run out of memory; None where there is none."""
    fit: Fit | None = first
    while fit is not None:
        try:
            works(fit)
            return fit
        except torch.OutOfMemoryError:
            fit = fit.smaller(rows)
        release()
    return None


def estimated(rows: int, free: float, row_bytes: Callable[[bool], float]) -> Fit | None:
    """The largest fit by what one row takes, for where running out of memory cannot be survived."""
    for recomputes in (False, True):
        able = int(free * USED_SHARE / (row_bytes(recomputes) * TRANSIENT))
        if able >= rows:
            return Fit(rows, recomputes)
        if able:
            return Fit(math.ceil(rows / math.ceil(rows / able)), recomputes)
    return None


def kept_bytes(model: torch.nn.Module, forward: Callable[[], object]) -> int:
    """Bytes that a forward keeps for its backward, beside the weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        graph = forward()
    del graph
    return max(1, sum(kept.values()))


def free_bytes(device: torch.device) -> int:
    """Memory that can still be taken on a device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    free = int(meminfo["MemAvailable"].split()[0]) * 1024
    return min(free, _left_in_group(Path("/sys/fs/cgroup")))


def _left_in_group(group: Path) -> float:
    """What a container may still take; its cache of files can be given back."""
    try:
        limit, used = ((group / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
        cached = next(
            line.split()[1] for line in (group / "memory.stat").read_text(encoding="ascii").splitlines() if "inactive_file" in line
        )
        return int(limit) - int(used) + int(cached)
    except (OSError, ValueError, StopIteration):
        return math.inf  # no group, or one without a limit


def release() -> None:
    """Give what is not used any more back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class Need:
    """What a training takes before its first row: weights, and what is trained."""

    weights: int
    adapter: int
    """Weights of the adapter."""
    rank: int

    @property
    def adapter_bytes(self) -> int:
        return self.adapter * BYTES_PER_TRAINED

    @property
    def bytes(self) -> int:
        return self.weights + self.adapter_bytes

    def require(self, free: int) -> None:
        """Raises StepError where even the weights and the adapter do not fit, before anything is loaded."""
        if self.bytes <= free:
            return
        said = f"The model ({gib(self.weights)}) and its adapter in training ({gib(self.adapter_bytes)}) do not fit: {gib(free)} are free."
        able = int(self.rank * (free - self.weights) / max(1, self.adapter_bytes))
        way = f"A rank of {able} would leave no room for rows; set rank = {able // 2} or fewer targets." if able >= 2 else ""
        raise StepError(said, way or f"Take a smaller base model, or a machine with at least {gib(self.bytes * 1.3)}.")


def no_room(need: Need, free: int, tokens: int, able_tokens: int) -> StepError:
    """Not even one row fits, with its activations computed again; `able_tokens` is the length of a row that was tried and does."""
    said = (
        f"One row of {tokens} tokens does not fit: model and adapter take {gib(need.bytes)}, and {gib(free)} were free. "
        "Gradient checkpointing was tried."
    )
    ways = [f"set max_tokens = {able_tokens} (rows of that length fit)"] if able_tokens else []
    if need.rank > 1:
        ways.append(f"halve rank (saves {gib(need.adapter_bytes / 2)})")
    ways.append("free the memory that other programs hold, or take a larger machine")
    hint = "; ".join(ways)
    return StepError(said, f"{hint[0].upper()}{hint[1:]}.")


def gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB"
