"""Whether a model's layers fit on the GPU one at a time, and how many tokens may go through a layer together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from step_io import StepError

from passes.layer_inputs import Effort

FLOAT = 4
SPARE = 1.15
"""For what the allocator cannot use."""


def room_for(config, searched: torch.Tensor, held_out: torch.Tensor, device: torch.device) -> int:
    """Tokens that may go through a layer together on this device, at least one row.

    Raises:
        StepError: not even one row fits.
    """
    wanted = Effort.on(device).batch_tokens
    if device.type != "cuda":
        return wanted
    free = torch.cuda.mem_get_info(device)[0]
    return tokens_that_fit(config, len(searched), len(held_out), searched.shape[1], free, wanted)


def tokens_that_fit(config, rows: int, held_out_rows: int, length: int, free: int, wanted: int) -> int:
    """The largest batch of whole rows, at most `wanted` tokens, that leaves the work in `free` bytes.

    Raises:
        StepError: says what is needed, and with how many rows it would fit.
    """
    tokens = max(wanted // length, 1) * length
    while tokens > length and bytes_needed(config, rows, held_out_rows, length, tokens) > free:
        tokens = max(tokens // length // 2, 1) * length
    needed = bytes_needed(config, rows, held_out_rows, length, tokens)
    if needed <= free:
        return tokens
    row = bytes_needed(config, rows + 1, held_out_rows, length, tokens) - needed
    fitting = int(rows - -(-(needed - free) // row))
    way_out = f"Set calibration_samples = {fitting + held_out_rows}" if fitting > 1 else "Use a GPU with more memory"
    raise StepError(
        f"The GPU has {free / 1e9:.1f} GB free; this model with {rows + held_out_rows} sequences of {length} tokens needs {needed / 1e9:.1f} GB.",
        f'{way_out}, end other programs on the GPU, or hide it (CUDA_VISIBLE_DEVICES="") to work on the processor.',
    )


def bytes_needed(config, rows: int, held_out_rows: int, length: int, batch_tokens: int) -> int:
    """The most that is on the GPU at a time, reckoned from the shapes."""
    hidden, middle = config.hidden_size, config.intermediate_size
    head_size = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    queries, keys = config.num_attention_heads * head_size, (config.num_key_value_heads or config.num_attention_heads) * head_size
    largest = 2 * hidden * middle
    layer = hidden * (2 * queries + 2 * keys + 3 * middle)
    weights = 4 * layer + 4 * largest  # as it was, at work, read ahead and being written; the rounding's own
    streams = rows * length * hidden + 6 * held_out_rows * length * hidden
    samples = 2 * Effort.on(torch.device("cuda")).other_tokens * (2 * hidden + queries + 2 * middle)
    batch = batch_tokens * (6 * hidden + 3 * queries + 5 * middle) + config.num_attention_heads * length * length
    head = config.vocab_size * hidden + 3 * length * config.vocab_size
    return int(FLOAT * SPARE * (streams + max(weights + samples + batch, head)))


class Room:
    """The most that was in use on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def most_bytes(self) -> int:
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0

    @classmethod
    @contextmanager
    def watched(cls, device: torch.device) -> Iterator[Room]:
        """
        Raises:
            StepError: the GPU ran full, or is not there any more.
        """
        room = cls(device)
        try:
            yield room
        except torch.OutOfMemoryError as error:
            gone = f"The GPU ran out of memory with {room.most_bytes() / 1e9:.1f} GB in use here."
            raise StepError(gone, "Lower calibration_samples, or end other programs on the GPU.") from error
        except RuntimeError as error:
            if "CUDA" not in str(error):
                raise
            what = str(error).splitlines()[0]
            raise StepError(
                f"The GPU failed in the middle of the work: {what}", "See `nvidia-smi` and `dmesg`; then resume the run."
            ) from error
