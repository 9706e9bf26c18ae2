"""Generations as rows of one batch: each step takes in one token of every row that shares an adapter.

GenAI 0.18 batches on the CPU only what starts together, without adapters, and keeps no cache from turn to turn. Its graphs can do more: a row is as long
as its mask says. So this runs them on ONNX Runtime directly, with caches of our own. Reading the weights is what a token costs, and a batch reads them once.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from pathlib import Path

import ort
from choices import Choice
from choosing import Chooser
from lanes import Lane, best_lane
from limits import Limits, usable_cores
from load_errors import loading_adapter
from model import Sampling
from model_folder import decoder_settings
from rows import Rows, best_window

PAST = "past_key_values."

STEADY_ROWS = 2
"""Rows at least of a step for a request with a seed. One row alone is computed by other code, faster by a fifth, whose rounding differs: an answer
would depend on who else asks at the time, and who gives a seed wants the same answer again."""

MOST_SCORES = 16_000_000
"""Bytes of scores of a part of a prompt: the graph brings them for every token, where only the last one's are of use."""


class BatchEngine:
    """One graph and its lanes. For one thread."""

    provider = "cpu"

    def __init__(self, folder: Path, file: str, adapters: dict[str, Path], limits: Limits) -> None:
        settings = decoder_settings(folder)
        options = settings.get("session_options", {})
        operators = options.get("custom_ops_library")
        threads = limits.threads or options.get("intra_op_num_threads") or usable_cores()
        self._session = ort.Session(
            folder / (file or settings["filename"]), threads=threads, operators=folder / operators if operators else None
        )
        ports = self._session.inputs()
        self._has_positions = "position_ids" in ports
        self._past = [name for name in ports if name.startswith(PAST)]
        self._present = [name.replace(PAST, "present.") for name in self._past]
        self._together = limits.together
        count = limits.together + STEADY_ROWS - 1
        self._rows = Rows({name: ports[name] for name in self._past}, count, limits.max_length + 1)
        self._lanes = [Lane(row) for row in range(count)]
        self._budget = limits.tokens(self._rows.bytes_per_token)
        self._adapters = {name: _adapter(path) for name, path in adapters.items()}
        self._vocabulary = self._session.outputs()["logits"].shape[-1]
        self._chooser = Chooser(self._vocabulary)
        self._scores = _Buffer()
        self.chunk = min(64, max(16, MOST_SCORES // (4 * self._vocabulary)))

    @property
    def is_idle(self) -> bool:
        return not any(lane.is_busy for lane in self._lanes)

    def take(self, prompt: Sequence[int], adapter: str, sampling: Sampling, *, reuse: bool) -> Lane | None:
        """A lane for a prompt, with what it holds of it kept; None while there is no room."""
        need = len(prompt) + sampling.max_tokens
        busy = [lane for lane in self._lanes if lane.is_busy]
        if len(busy) >= self._together or need + sum(lane.reserved for lane in busy) > self._budget:
            return None
        lane, kept = best_lane(self._lanes, adapter, prompt if reuse else (), only_steady=sampling.seed is not None)
        if len(lane.held) > kept:
            self._rows.cut(lane.row, kept)
        lane.begin(adapter, kept, need, sampling)
        self._make_room()
        return lane

    def leave(self, lane: Lane, *, keep: bool) -> None:
        """A lane is idle again; what it holds may serve another prompt."""
        lane.end()
        if not keep:
            self._empty(lane)

    def feed(self, lane: Lane, tokens: Sequence[int], *, is_last: bool) -> Choice | None:
        """Take in a part of the prompt; after the last one, the first token of the answer."""
        scores = self._run(lane.adapter, [lane], [tokens])
        lane.hold(tokens, is_alone=len(tokens) == 1)
        return self._choose(lane, scores + 4 * self._vocabulary * (len(tokens) - 1)) if is_last else None

    def advance(self, lanes: Sequence[Lane]) -> list[Choice | RuntimeError]:
        """The next token of each lane."""
        found: dict[Lane, Choice | RuntimeError] = {}
        for adapter in {lane.adapter: None for lane in lanes}:
            group = [lane for lane in lanes if lane.adapter == adapter]
            try:
                found |= self._advance_group(group)
            except RuntimeError as exc:
                found |= dict.fromkeys(group, exc)
        return [found[lane] for lane in lanes]

    def _advance_group(self, group: Sequence[Lane]) -> dict[Lane, Choice]:
        least = STEADY_ROWS if any(lane.sampling.seed is not None for lane in group) else 1
        window = self._arrange(group, max(len(group), least))
        scores = self._run(group[0].adapter, window, [[lane.pending if lane in group else 0] for lane in window])
        for lane in group:
            lane.hold([lane.pending], is_alone=len(window) == 1)
        return {lane: self._choose(lane, scores + 4 * self._vocabulary * window.index(lane)) for lane in group}

    def _choose(self, lane: Lane, scores: int) -> Choice:
        choice = self._chooser.choose(scores, lane.sampling, lane.draws)
        lane.pending = choice.token
        return choice

    def _run(self, adapter: str, lanes: Sequence[Lane], tokens: Sequence[Sequence[int]]) -> int:
        """Take tokens in, as many for each of some lanes of neighbouring rows; the address of their scores, which the next run writes over.

        What a lane holds is left alone: its tokens go where it ends, and count only once they are held.
        """
        first, count, width = lanes[0].row, len(lanes), len(tokens[0])
        held = [len(lane.held) for lane in lanes]
        longest = max(held) + width
        asked = array("q", [token for row in tokens for token in row])
        mask = array("q", b"".join(_ONE * (length + width) + _ZERO * (longest - length - width) for length in held))
        inputs = {"input_ids": _tensor(asked, count), "attention_mask": _tensor(mask, count)}
        positions = array("q", [length + place for length in held for place in range(width)])
        if self._has_positions:
            inputs["position_ids"] = _tensor(positions, count)
        caches = self._rows.window(first, count)
        scores = self._scores.at_least(4 * count * width * self._vocabulary)
        outputs = {"logits": ort.Tensor(scores, [count, width, self._vocabulary], ort.FLOAT)}
        inputs.update(zip(self._past, caches, strict=True))
        outputs.update(zip(self._present, caches, strict=True))
        self._session.run(inputs, outputs, self._adapters.get(adapter))
        return scores

    def _arrange(self, group: Sequence[Lane], count: int) -> list[Lane]:
        """Move the group's rows next to each other; the lanes of the `count` rows that hold them, in the rows' order."""
        first = best_window([lane.row for lane in group], count, len(self._lanes))
        window = range(first, first + count)
        strangers = [lane for lane in self._lanes if lane.row in window and lane not in group]
        for lane in group:
            if lane.row not in window:
                self._swap(lane, strangers.pop())
        return sorted((lane for lane in self._lanes if lane.row in window), key=lambda lane: lane.row)

    def _swap(self, one: Lane, other: Lane) -> None:
        self._rows.swap(one.row, other.row, max(len(one.held), len(other.held)))
        one.row, other.row = other.row, one.row
        shorter = min(one, other, key=lambda lane: len(lane.held))
        self._rows.cut(shorter.row, len(shorter.held))

    def _make_room(self) -> None:
        """Empty idle lanes, the longest unused first, until what may be written fits beside what is held."""
        idle = sorted((lane for lane in self._lanes if not lane.is_busy and lane.held), key=lambda lane: lane.used_at)
        total = sum(lane.reserved or len(lane.held) for lane in self._lanes)
        for lane in idle:
            if total <= self._budget:
                return
            total -= len(lane.held)
            self._empty(lane)

    def _empty(self, lane: Lane) -> None:
        lane.held.clear()
        self._rows.cut(lane.row, 0)


_ONE, _ZERO = (1).to_bytes(8, "little"), bytes(8)


def _tensor(numbers: array, rows: int) -> ort.Tensor:
    return ort.Tensor(numbers.buffer_info()[0], [rows, len(numbers) // rows], ort.INT64)


class _Buffer:
    """Memory that grows to the largest size that was asked for."""

    def __init__(self) -> None:
        self._memory = ctypes.create_string_buffer(1)

    def at_least(self, size: int) -> int:
        if len(self._memory) < size:
            self._memory = ctypes.create_string_buffer(size)
        return ctypes.addressof(self._memory)


def _adapter(path: Path) -> ort.RunOptions:
    with loading_adapter(path):
        return ort.RunOptions(ort.Adapter(path))
