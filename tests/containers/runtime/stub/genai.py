"""A stand-in for the module of the same name: words are tokens, and the answer is what the last message asks for.

"say: a b c" is answered with "a b c"; anything else with endless counting. Some words are special: "crash" raises,
"pause" takes half a minute, "gulp" takes a gigabyte of memory; "<nl>" begins a new line. With an adapter active, the adapter's name
comes first. STUB_DELAY is the time of a token; the generations that are alive are listed in the folder STUB_ALIVE.
"""

import contextlib
import json
import os
import time
import uuid
from itertools import chain, count
from pathlib import Path

EOS = 0
DELAY = float(os.environ.get("STUB_DELAY", "0"))
ALIVE = Path(os.environ["STUB_ALIVE"])
LOADED = ALIVE.parent
"""Graphs that are in memory are marked here."""

_vocabulary: dict[str, int] = {"<eos>": EOS}


def _token(word: str) -> int:
    return _vocabulary.setdefault(word, len(_vocabulary))


def _word(token: int) -> str:
    return list(_vocabulary)[token]


class Config:
    def __init__(self, folder: str):
        self.folder, self.file = Path(folder), "model.onnx"

    def clear_providers(self) -> None: ...

    def overlay(self, text: str) -> None:
        self.file = json.loads(text)["model"]["decoder"].get("filename", self.file)


class Model:
    def __init__(self, config: Config):
        time.sleep(float(os.environ.get("STUB_LOAD_SECONDS", "0")))
        if not (config.folder / config.file).exists():
            raise RuntimeError(f"{config.file} failed: file doesn't exist")
        self.file = config.file
        self.device_type = "CPU"
        self._mark = LOADED / f"{config.file}.loaded"
        with contextlib.suppress(OSError):  # a hardened container may write nowhere; there nobody looks
            self._mark.touch()

    def __del__(self) -> None:
        if mark := getattr(self, "_mark", None):
            with contextlib.suppress(OSError):
                mark.unlink(missing_ok=True)


class Tokenizer:
    def __init__(self, model: Model): ...

    def apply_chat_template(self, messages: str, add_generation_prompt: bool) -> str:
        found = json.loads(messages)
        if found[0]["role"] == "assistant":
            raise RuntimeError("Conversation roles must alternate user/assistant")
        return " ".join(f"<{message['role']}> {message['content']}" for message in found)

    def encode(self, text: str) -> list[int]:
        return [_token(word) for word in text.split()]

    def create_stream(self) -> "Tokenizer":
        return self

    def decode(self, token: int) -> str:
        return "\n" if _word(token) == "<nl>" else _word(token) + " "


class Adapters:
    def __init__(self, model: Model): ...

    def load(self, path: str, name: str) -> None:
        if not Path(path).exists():
            raise RuntimeError(f"{path} does not exist")


class GeneratorParams:
    def __init__(self, model: Model): ...

    def set_search_options(self, **options: object) -> None:
        self.options = options


class Generator:
    def __init__(self, model: Model, params: GeneratorParams):
        self._room = params.options["max_length"]
        self._tokens: list[int] = []
        self._adapter = "" if model.file == "model.onnx" else f"<{model.file}>"
        self._mark = ALIVE / uuid.uuid4().hex
        self._mark.write_text(json.dumps(params.options))
        self._answer = None

    def __del__(self) -> None:
        self._mark.unlink(missing_ok=True)

    def set_active_adapter(self, adapters: Adapters, name: str) -> None:
        self._adapter = name

    def append_tokens(self, tokens: list[int]) -> None:
        self._tokens += tokens
        self._answer = None
        if len(self._tokens) >= self._room:
            raise RuntimeError("input_ids size exceeds max_length")

    def rewind_to(self, length: int) -> None:
        if length > len(self._tokens):
            raise RuntimeError("Cannot rewind to a length greater than the current sequence length")
        del self._tokens[length:]

    def generate_next_token(self) -> None:
        time.sleep(DELAY)
        if self._answer is None:
            self._answer = self._words()
        self._tokens.append(_token(next(self._answer)))
        match _word(self._tokens[-1]):
            case "crash":
                raise RuntimeError("out of memory")
            case "pause":
                time.sleep(30)
            case "gulp":
                self._gulp = b"x" * 1_000_000_000

    def _words(self):
        prompt = " ".join(_word(token) for token in self._tokens)
        _, asked, words = prompt.rpartition("say: ")
        answer = chain(words.split(), ["<eos>"]) if asked else map(str, count(1))
        return chain([self._adapter] if self._adapter else [], answer)

    def get_next_tokens(self) -> list[int]:
        return [self._tokens[-1]]
