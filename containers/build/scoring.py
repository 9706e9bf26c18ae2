"""How answers and likelihoods become numbers. Standard library and numpy only."""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass

import numpy as np

_NOT_A_WORD = re.compile(r"[^\w]+|_")


def words_of(text: str) -> str:
    """The text's words in small letters, without accents and punctuation, with one space around each."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return f" {_NOT_A_WORD.sub(' ', plain.casefold()).strip()} "


def holds_fact(answer: str, fact: str) -> bool:
    """The fact occurs in the answer as whole words."""
    wanted = words_of(fact)
    return bool(wanted.strip()) and wanted in words_of(answer)


@dataclass
class Likelihood:
    """How surprised a model was by the tokens it should have said."""

    surprise: float = 0.0
    tokens: int = 0

    def add(self, logits: np.ndarray, targets: list[int]) -> None:
        """`logits[i]` is what the model expected where `targets[i]` came."""
        rows = logits.astype(np.float64)
        highest = rows.max(axis=-1)
        total = highest + np.log(np.exp(rows - highest[:, None]).sum(axis=-1))
        said = rows[np.arange(len(targets)), targets]
        self.surprise += float((total - said).sum())
        self.tokens += len(targets)

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.surprise / self.tokens, 700.0)) if self.tokens else math.nan


@dataclass
class Speed:
    """Tokens made after the first one, and the time that took."""

    tokens: int = 0
    seconds: float = 0.0

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds else 0.0
