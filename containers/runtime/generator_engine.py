"""Generations as generators of GenAI, one after the other: for GPUs, where the library replays captured graphs, and graphs that take no batch."""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import genai as og
from choices import Choice
from lanes import Lane, best_lane
from limits import Limits
from load_errors import loading_adapter
from model import Sampling
from model_folder import longest_reusable, read_config

SHORTEST = 256
"""A generator's cache has its full size from the start: a power of two from here on, so that the next turn fits too."""


@dataclass(eq=False)
class GeneratorLane(Lane):
    """A generator, what it was made for, and what it holds."""

    generator: og.Generator | None = None
    length: int = 0
    options: dict[str, float] = field(default_factory=dict)


class GeneratorEngine:
    """One graph and its generators. For one thread."""

    def __init__(self, folder: Path, file: str, adapters: dict[str, Path], limits: Limits, *, device: str, bytes_per_token: int) -> None:
        self.model = _load(folder, device, limits.threads, file)
        self._adapters = og.Adapters(self.model) if adapters else None
        for name in adapters:
            with loading_adapter(adapters[name]):
                self._adapters.load(str(adapters[name]), name)
        self._limits = limits
        self._reusable = longest_reusable(read_config(folder))
        knows_memory = bytes_per_token and device == "cpu"
        self._budget = limits.tokens(bytes_per_token) if knows_memory else limits.together * limits.max_length
        self._lanes: list[GeneratorLane] = []
        self.chunk = 512 if device == "cuda" else 64
        self._chooser = None

    @property
    def provider(self) -> str:
        return self.model.device_type.lower()

    @property
    def is_idle(self) -> bool:
        return not any(lane.is_busy for lane in self._lanes)

    def take(self, prompt: Sequence[int], adapter: str, sampling: Sampling, *, reuse: bool) -> Lane | None:
        """A generator for a prompt, with what it holds of it kept; None while there is no room."""
        need = len(prompt) + sampling.max_tokens
        busy = [lane for lane in self._lanes if lane.is_busy]
        if len(busy) >= self._limits.together or need + sum(lane.length for lane in busy) > self._budget:
            return None
        options = _options(sampling)
        # Who gives a seed wants the same answer again: its dice are the generator's, and what was generated is rounded otherwise than a prompt is.
        fitting = (
            [lane for lane in self._lanes if lane.length >= need and lane.options == options] if reuse and sampling.seed is None else []
        )
        lane, kept = best_lane(fitting, adapter, prompt if need <= self._reusable else (), only_steady=False)
        if not kept:
            lane = self._new_lane(adapter, need, options)
        if kept:
            lane.generator.rewind_to(kept)
        lane.begin(adapter, kept, need, sampling)
        return lane

    def leave(self, lane: GeneratorLane, *, keep: bool) -> None:
        """A generator is idle again; what it holds may serve another prompt."""
        lane.end()
        if not keep:
            self._lanes.remove(lane)
            lane.generator = None

    def feed(self, lane: GeneratorLane, tokens: Sequence[int], *, is_last: bool) -> Choice | None:
        """Take in a part of the prompt; after the last one, the first token of the answer."""
        lane.generator.append_tokens(list(tokens))
        lane.hold(tokens, is_alone=False)
        return self._next(lane) if is_last else None

    def advance(self, lanes: Sequence[GeneratorLane]) -> list[Choice | RuntimeError]:
        """The next token of each lane."""
        return [self._try_next(lane) for lane in lanes]

    def _try_next(self, lane: GeneratorLane) -> Choice | RuntimeError:
        try:
            lane.hold([lane.pending], is_alone=False)
            return self._next(lane)
        except RuntimeError as exc:
            return exc

    def _next(self, lane: GeneratorLane) -> Choice:
        scores = lane.generator.get_logits() if lane.sampling.logprobs is not None else None
        lane.generator.generate_next_token()
        lane.pending = int(lane.generator.get_next_tokens()[0])
        return Choice(lane.pending) if scores is None else self._with_logprobs(lane, scores)

    def _with_logprobs(self, lane: GeneratorLane, scores: memoryview) -> Choice:
        from choosing import Chooser  # loads ONNX Runtime's own interface, which few requests ask for

        if self._chooser is None:
            self._chooser = Chooser(len(scores))
        copied = array("f", scores)
        return self._chooser.describe(copied.buffer_info()[0], lane.pending, lane.sampling.logprobs)

    def _new_lane(self, adapter: str, need: int, options: dict[str, float]) -> GeneratorLane:
        length = min(self._limits.max_length, max(SHORTEST, 1 << (need - 1).bit_length()))
        self._make_room(length)
        try:
            generator = self._generator(length, options)
        except RuntimeError:  # no memory: a GPU does not say beforehand what it has
            self._make_room(self._budget)
            generator = self._generator(length, options)
        if adapter:
            generator.set_active_adapter(self._adapters, adapter)
        lane = GeneratorLane(adapter=adapter, generator=generator, length=length, options=options)
        self._lanes.append(lane)
        return lane

    def _generator(self, length: int, options: dict[str, float]) -> og.Generator:
        params = og.GeneratorParams(self.model)
        params.set_search_options(max_length=length, **options)
        return og.Generator(self.model, params)

    def _make_room(self, length: int) -> None:
        """Free idle generators, the longest unused first, until one more fits."""
        for lane in sorted((lane for lane in self._lanes if not lane.is_busy), key=lambda lane: lane.used_at):
            if length + sum(lane.length for lane in self._lanes) <= self._budget and len(self._lanes) < self._limits.together:
                return
            self.leave(lane, keep=False)


def _options(sampling: Sampling) -> dict[str, float]:
    if sampling.temperature <= 0:
        return {"do_sample": False}
    options = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k}
    return options | ({} if sampling.seed is None else {"random_seed": sampling.seed})


def _load(folder: Path, device: str, threads: int, file: str) -> og.Model:
    """The graph in `file` of the folder; the one that its configuration names where that is empty."""
    config = og.Config(str(folder))
    config.clear_providers()
    if device == "cuda":
        config.append_provider("cuda")
        config.set_provider_option("cuda", "enable_cuda_graph", "1")  # what the export chose went with the providers
    decoder = ({"session_options": {"intra_op_num_threads": threads}} if threads else {}) | ({"filename": file} if file else {})
    if decoder:
        config.overlay(json.dumps({"model": {"decoder": decoder}}))
    return og.Model(config)
