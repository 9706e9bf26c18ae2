"""A model exported for ONNX Runtime GenAI and its adapters, spoken to token by token.

Nothing here knows of HTTP. One `LocalModel` serves one generation at a time: keep all calls of `stream` in one thread.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

# onnxruntime from 1.29 on writes a device id and a database under HOME and sends events out. This is its documented
# opt-out, and it counts only when set before the library is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime_genai as og
from graphs import Graphs
from model import ModelError, Piece, Sampling, TemplateError
from stops import StopFilter

PREFILL_CHUNK = 64
"""Prompt tokens taken in at once. The library holds the interpreter lock meanwhile, so this bounds how long the server
cannot answer `/health` or notice a hang-up. Chunks of 64 cost nothing measurable next to one pass."""

DEFAULT_MAX_LENGTH = 4096
"""Prompt plus answer, in tokens, where nobody says otherwise and the model would take more: the key-value cache of a
long context may not fit a small device."""


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
    ):
        config = _read_config(folder)
        self.max_length = _limit(max_length, int(config["model"]["context_length"]))
        self.is_merged = bool(graphs)
        self.adapters = tuple(sorted(name for name in graphs or adapters if name))
        self.has_base = not graphs or "" in graphs
        self._eos = _eos_ids(config)
        self._text_lock = threading.Lock()  # a request is tokenised while another one generates
        files = {name: graphs[name] for name in sorted(graphs)} if graphs else {"": ""}
        self._graphs: Graphs[og.Model] = Graphs(files, lambda file: _load(folder, device, threads, file), graphs_in_memory)
        first = self._graphs.get(self._graphs.first[0])
        self._tokenizer = og.Tokenizer(first)
        self._adapters = og.Adapters(first) if adapters else None
        for name in adapters:
            _load_adapter(self._adapters, name, adapters[name])

    def encode(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """The prompt as tokens: the whole conversation through the model's chat template."""
        try:
            with self._text_lock:
                prompt = self._tokenizer.apply_chat_template(json.dumps(list(messages)), add_generation_prompt=True)
                return [int(token) for token in self._tokenizer.encode(prompt)]
        except (RuntimeError, ValueError) as exc:
            raise TemplateError(str(exc).strip()) from exc

    def stream(self, prompt: Sequence[int], adapter: str, sampling: Sampling) -> Generator[Piece, None, None]:
        """Take the prompt in, then one piece a token. Closing the generator ends the generation."""
        generator = self._generator(len(prompt), adapter, sampling)
        for start in range(0, len(prompt), PREFILL_CHUNK):
            generator.append_tokens(list(prompt[start : start + PREFILL_CHUNK]))
            yield Piece("", 0)
        yield from self._answer(generator, sampling)

    def _answer(self, generator: og.Generator, sampling: Sampling) -> Generator[Piece, None, None]:
        decoder = self._tokenizer.create_stream()
        stops = StopFilter(sampling.stop)
        for count in range(1, sampling.max_tokens + 1):
            generator.generate_next_token()
            token = int(generator.get_next_tokens()[0])
            if token in self._eos:
                yield Piece(stops.rest(), count, "stop")
                return
            text, is_stopped = stops.feed(decoder.decode(token))
            if is_stopped:
                yield Piece(text, count, "stop")
                return
            if count == sampling.max_tokens:
                yield Piece(text + stops.rest(), count, "length")
                return
            yield Piece(text, count)

    def _generator(self, prompt_tokens: int, adapter: str, sampling: Sampling) -> og.Generator:
        model = self._graphs.get(adapter if self.is_merged else "")
        params = og.GeneratorParams(model)
        options = {
            "max_length": min(self.max_length, prompt_tokens + sampling.max_tokens),
            "do_sample": sampling.temperature > 0,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
        if sampling.temperature > 0:
            options["temperature"] = sampling.temperature
        if sampling.seed is not None:
            options["random_seed"] = sampling.seed
        params.set_search_options(**options)
        generator = og.Generator(model, params)
        if adapter and not self.is_merged:
            generator.set_active_adapter(self._adapters, adapter)
        return generator

    def warm_up(self) -> None:
        """One token from the base and from each adapter: the first use is slow, and a misfit shows here, not to a user.

        Graphs that only fit one after the other are loaded when they are asked for.
        """
        prompt = self.encode([{"role": "user", "content": "Hello"}])
        for adapter in self._graphs.first if self.is_merged else ("", *self.adapters):
            try:
                for _ in self.stream(prompt, adapter, Sampling(max_tokens=1)):
                    pass
            except RuntimeError as exc:
                who = f"adapter '{adapter}'" if adapter else "the base model"
                raise ModelError(f"{who} does not run on this graph: {exc}. Export graph and adapter again.") from exc


def find_adapters(folder: Path | None) -> dict[str, Path]:
    """Adapter files of a folder by name; none where there is no such folder."""
    if folder is None or not folder.is_dir():
        return {}
    return {path.name.removesuffix(".onnx_adapter"): path for path in sorted(folder.glob("*.onnx_adapter"))}


def _read_config(folder: Path) -> dict:
    path = folder / "genai_config.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise ModelError(f"No model in {folder}: genai_config.json is missing. Give the folder of an export.") from None
    except (OSError, ValueError) as exc:
        raise ModelError(f"{path} cannot be read: {exc}. Export the model again.") from exc


def _limit(asked: int, context_length: int) -> int:
    return min(asked or DEFAULT_MAX_LENGTH, context_length)


def _eos_ids(config: dict) -> frozenset[int]:
    ids = config["model"]["eos_token_id"]
    return frozenset(ids if isinstance(ids, list) else [ids])


def _load(folder: Path, device: str, threads: int, file: str = "") -> og.Model:
    """The graph in `file` of the folder; the one that its configuration names where that is empty."""
    config = og.Config(str(folder))
    config.clear_providers()
    if device.startswith("cuda"):
        config.append_provider("cuda")
        config.set_provider_option("cuda", "enable_cuda_graph", "1")  # what the export chose went with the providers
    decoder = ({"session_options": {"intra_op_num_threads": threads}} if threads else {}) | ({"filename": file} if file else {})
    if decoder:
        config.overlay(json.dumps({"model": {"decoder": decoder}}))
    try:
        return og.Model(config)
    except RuntimeError as exc:
        raise ModelError(f"{folder / file} does not load on {device}: {exc}. Is the export complete?") from exc


def _load_adapter(adapters: og.Adapters, name: str, path: Path) -> None:
    try:
        adapters.load(str(path), name)
    except RuntimeError as exc:
        raise ModelError(f"Adapter {path} does not load: {exc}. Export it again.") from exc
