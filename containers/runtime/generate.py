"""A model exported for ONNX Runtime GenAI and its adapters, spoken to token by token.

Nothing here knows of HTTP. Keep all calls in one thread, but those that only make tokens of text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from choices import Engine
from generation import Generation
from graphs import Graphs
from limits import Limits
from load_errors import loading
from model import ModelError, Piece, Sampling
from model_folder import find_adapters, is_batchable, kv_bytes_per_token, longest, read_config
from tokens import Tokens

__all__ = ["LocalModel", "find_adapters"]

TOGETHER = {"cpu": 8, "cuda": 4}
"""Generations that run at once. On a CPU a batch gains up to here; on a GPU they take turns, so that a short one need not wait for a long one."""


WARM_UP_TOKENS = 4
"""Enough to run every operator once, for a prompt and for an answer."""


class LocalModel:
    """A loaded model folder with its adapters: files beside one graph, or graphs of their own."""

    def __init__(
        self,
        folder: Path,
        adapters: dict[str, Path],
        *,
        graphs: dict[str, str] | None = None,
        graphs_in_memory: int = 1,
        device: str = "cpu",
        max_length: int = 0,
        threads: int = 0,
        together: int = 0,
        memory: int = 0,
        kv_bytes: int = 0,
        kv_tokens: int = 0,
        reuse: bool = True,
    ):
        """`memory`: bytes that the server may take, 0 where nobody knows; `kv_bytes`: what a token takes of it in a cache;
        `kv_tokens`: how many a graph's caches may hold, 0 where nobody reckoned it."""
        config = read_config(folder)
        self.max_length = longest(config, max_length)
        self.vocabulary = int(config["model"].get("vocab_size", 0))
        self.together = together or TOGETHER[device]
        self.is_merged = bool(graphs)
        self.adapters = tuple(sorted(name for name in graphs or adapters if name))
        self.has_base = not graphs or "" in graphs
        self._reuse = reuse
        files = {name: graphs[name] for name in sorted(graphs)} if graphs else {"": ""}
        held = min(max(1, graphs_in_memory), len(files))
        limits = Limits(
            max_length=self.max_length, together=self.together, threads=threads, memory=memory, graphs=held, cache_tokens=kv_tokens
        )
        self.kv_bytes_per_token = kv_bytes = kv_bytes or kv_bytes_per_token(config, 2 if device == "cuda" else 4)
        is_batched = device == "cpu" and is_batchable(config, self.max_length)
        self._graphs: Graphs[Engine] = Graphs(files, _loader(folder, adapters, limits, device, kv_bytes, is_batched), held)
        with ThreadPoolExecutor(max_workers=1) as aside:
            early = aside.submit(Tokens, folder) if is_batched else None  # while the graph loads
            first = self._graphs.get(self._graphs.first[0])
            self._tokens = early.result() if early else Tokens(folder, first.model)
        self.provider = first.provider

    def encode(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """The prompt as tokens: the whole conversation through the model's chat template."""
        return self._tokens.encode(messages)

    def encode_text(self, text: str) -> list[int]:
        """A text to go on with, as tokens."""
        return self._tokens.encode_text(text)

    def start(self, prompt: Sequence[int], adapter: str, sampling: Sampling) -> Generation | None:
        """Begin an answer; None while there is no room for it beside those that run."""
        file, name = (adapter, "") if self.is_merged else ("", adapter)
        engine = self._graphs.get(file)
        if engine is None:
            return None
        lane = engine.take(prompt, name, sampling, reuse=self._reuse)
        return lane and Generation(engine, lane, prompt, self._tokens, sampling)

    def step(self, generations: Sequence[Generation]) -> list[Piece | RuntimeError | None]:
        """One token of each answer, and one part of one prompt: the one whose turn it is. None: not its turn."""
        brought: dict[Generation, Piece | RuntimeError | None] = dict.fromkeys(generations)
        prompting = [generation for generation in generations if generation.is_prompting]
        answering = [generation for generation in generations if not generation.is_prompting]
        if prompting:
            fed = min(prompting, key=lambda generation: generation.parts)
            brought[fed] = _tried(fed.feed)
        for engine in {generation.engine: None for generation in answering}:
            group = [generation for generation in answering if generation.engine is engine]
            choices = engine.advance([generation.lane for generation in group])
            for generation, choice in zip(group, choices, strict=True):
                brought[generation] = choice if isinstance(choice, RuntimeError) else generation.piece(choice)
        for generation in generations:
            generation.keeps &= not isinstance(brought[generation], RuntimeError)
        return list(brought.values())

    def end(self, generation: Generation) -> None:
        """An answer is complete, or nobody wants the rest."""
        generation.engine.leave(generation.lane, keep=self._reuse and generation.keeps)

    def warm_up(self) -> None:
        """One token from the base and from each adapter: the first use is slow, and a misfit shows here, not to a user.

        Graphs that only fit one after the other are loaded when they are asked for.
        """
        prompt = self.encode([{"role": "user", "content": "Hello"}])[:WARM_UP_TOKENS]
        for adapter in self._graphs.first if self.is_merged else ("", *self.adapters):
            try:
                self._warm_up(prompt, adapter)
            except RuntimeError as exc:
                who = f"adapter '{adapter}'" if adapter else "the base model"
                raise ModelError(f"{who} does not run on this graph: {exc}. Export graph and adapter again.") from exc

    def _warm_up(self, prompt: Sequence[int], adapter: str) -> None:
        generation = self.start(prompt, adapter, Sampling(max_tokens=2))
        generation.keeps = False
        piece = None
        while piece is None or piece.finish is None:
            (piece,) = self.step([generation])
            if isinstance(piece, RuntimeError):
                raise piece
        self.end(generation)


def _tried(call: Callable[[], Piece]) -> Piece | RuntimeError:
    try:
        return call()
    except RuntimeError as exc:
        return exc


def _loader(
    folder: Path, adapters: dict[str, Path], limits: Limits, device: str, kv_bytes: int, is_batched: bool
) -> Callable[[str], Engine]:
    def load(file: str) -> Engine:
        """The engine of the graph in `file` of the folder; of the one that its configuration names where that is empty."""
        with loading(f"{folder / file}, on {device},", "Is the export complete?"):
            if is_batched:
                from batch_engine import BatchEngine

                return BatchEngine(folder, file, adapters, limits)
            from generator_engine import GeneratorEngine

            return GeneratorEngine(folder, file, adapters, limits, device=device, bytes_per_token=kv_bytes)

    return load
