"""Count tokens as the model will, from the tokenizer.json in its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from toolkit.errors import ModelError

TokenCounter = Callable[[Sequence[str]], list[int]]
"""Lengths in tokens of many texts at once."""


def token_counter(model_folder: Path) -> TokenCounter:
    """A counter from the folder's tokenizer.json.

    Raises:
        ModelError: there is no tokenizer.json, or it cannot be read.
    """
    from tokenizers import Tokenizer  # 0.1 s that only a check of data should cost

    path = model_folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(f"{model_folder} has no tokenizer.json.", "Save the model's fast tokenizer into the folder.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as exc:  # the library raises plain Exception
        raise ModelError(f"{path} is not a tokenizer: {exc}.", "Fetch the model again.") from exc
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(found) for found in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
