"""Text to tokens and back, with a model's own tokenizer and chat template."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import genai as og
from load_errors import loading
from model import TemplateError
from model_folder import eos_ids, read_config
from tiny_graphs import top_graph


class Tokens:
    """The tokenizer of a model folder."""

    def __init__(self, folder: Path, model: og.Model | None = None) -> None:
        """`model`: loaded from that folder, where there is one."""
        self._lock = threading.Lock()  # a request is tokenised while another one generates
        self._eos = eos_ids(read_config(folder))
        with loading(f"The tokenizer in {folder}", "Is the export complete?"):
            self._tokenizer = og.Tokenizer(model or _without_weights(folder))

    def encode(self, messages: Sequence[dict[str, str]]) -> list[int]:
        """A conversation through the model's chat template."""
        try:
            with self._lock:
                prompt = self._tokenizer.apply_chat_template(json.dumps(list(messages)), add_generation_prompt=True)
                return self._known(prompt)
        except (RuntimeError, ValueError) as exc:
            raise TemplateError(str(exc).strip()) from exc

    def encode_text(self, text: str) -> list[int]:
        """A text to go on with."""
        with self._lock:
            return self._known(text)

    def _known(self, text: str) -> list[int]:
        """Without what the vocabulary has no token for: the library says -1, Hugging Face leaves it out."""
        return [int(token) for token in self._tokenizer.encode(text) if token >= 0]

    def stream(self) -> og.TokenizerStream:
        return self._tokenizer.create_stream()

    def ends(self, token: int) -> bool:
        """It ends an answer, and is not part of it."""
        return token in self._eos

    def token(self, token: int) -> tuple[str, bytes]:
        """A token by itself. One that is part of a character has no text of its own."""
        with self._lock:
            text = self._tokenizer.decode([token])
        return text, text.encode()


def _without_weights(folder: Path) -> og.Model:
    """GenAI gives a tokenizer only with a model: here a graph of one node takes the weights' place."""
    graph, name = top_graph(), "no-weights.onnx"
    config = og.Config(str(folder))
    config.clear_providers()
    config.add_model_data(name, graph)
    config.overlay(json.dumps({"model": {"decoder": {"filename": name}}}))
    return og.Model(config)
