"""What of a model does not load, said so that a person knows what to make anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from model import ModelError

SOURCE_PLACE = re.compile(r"/onnxruntime_src/\S+:\d+ .*?\) (?=[\[A-Z])")
"""ONNX Runtime begins its messages with the place in its own source, the function's whole signature included."""


@contextmanager
def loading(what: str, way_out: str) -> Iterator[None]:
    """
    Raises:
        ModelError: what the library raised meanwhile.
    """
    try:
        yield
    except RuntimeError as exc:
        raise ModelError(f"{what} does not load: {plain(exc)}. {way_out}") from exc


def loading_adapter(path: Path) -> AbstractContextManager:
    if not path.exists():
        raise ModelError(f"Adapter {path} is not there. Package the image again.")
    return loading(f"Adapter {path}", "Export it again.")


def plain(exc: Exception) -> str:
    """The library's words in one line, without the place in its source."""
    return SOURCE_PLACE.sub("", " ".join(str(exc).split())).rstrip(". ")
