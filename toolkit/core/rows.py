"""A row of a dataset: what makes a record one, when two say the same, and which are kept from training."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from toolkit.core.jsonl import Kind, Problem, Record, json_type, read_jsonl
from toolkit.core.template import template_fields
from toolkit.errors import DataError

RESPONSE, FACT = "response", "fact"

Row = dict[str, str]
_BETWEEN_WORDS = re.compile(r"[\s.,;:!?'\"()\[\]{}/_¡¿«»\u2010-\u2027\u3000-\u303f-]+")
"""White space and punctuation. Signs that carry meaning, as in C++ and C#, stay."""
_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")


def read_rows(paths: Iterable[Path], text_template: str) -> list[Row]:
    """The rows of checked files; fields that are no text are left out.

    Raises:
        DataError: a line is no row for this template.
    """
    rows = []
    for found in itertools.chain.from_iterable(map(read_jsonl, paths)):
        problem = found if isinstance(found, Problem) else next(row_problems(found, template_fields(text_template)), None)
        if problem is not None and problem.is_fatal:
            raise DataError(f"{problem.place}: {problem.message}", problem.remedy)
        if isinstance(found, Record):
            rows.append(texts(found))
    return rows


def split_rows(rows: Sequence[Row], share: float, seed: int, text_template: str) -> tuple[list[Row], list[Row]]:
    """(train, held out): about `share` of the rows is kept back, and no prompt stands on both sides.

    Which rows depends on their content and the seed, not on their order.

    Raises:
        DataError: all rows ask the same, so nothing can be kept back.
    """
    asked = asked_fields(text_template)
    keys = [digest(*(normal(row[name]) for name in asked)) for row in rows]
    sizes = Counter(keys)
    if len(sizes) < 2:
        raise DataError("there are too few different prompts to keep some from training.", "Add rows, or name held-out files.")
    wanted = max(1, round(len(rows) * share))
    kept: set[int] = set()
    for key in sorted(sizes, key=lambda key: digest(str(seed), str(key)))[: len(sizes) - 1]:
        if wanted <= 0:
            break
        kept.add(key)
        wanted -= sizes[key]
    train = [row for row, key in zip(rows, keys, strict=True) if key not in kept]
    return train, [row for row, key in zip(rows, keys, strict=True) if key in kept]


def normal(text: str) -> str:
    """The text without what a person would not call a difference: case, spacing, punctuation."""
    words = _BETWEEN_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
    return words or text.strip()


def asked_fields(text_template: str) -> tuple[str, ...]:
    """The fields that ask; of a template that only has a response, that one."""
    named = template_fields(text_template)
    return tuple(name for name in named if name != RESPONSE) or named


def digest(*parts: str) -> int:
    """64 bits that stand for these texts."""
    joined = "\x1f".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(joined, digest_size=8).digest(), "little")


def texts(record: Record) -> Row:
    """The record's fields that are texts."""
    return {name: value for name, value in record.fields.items() if isinstance(value, str)}


def row_problems(record: Record, fields: tuple[str, ...]) -> Iterator[Problem]:
    """What makes a record no row for this template."""
    wanted = fields if FACT in fields or FACT not in record.fields else (*fields, FACT)
    for name in wanted:
        problem = _field_problem(record, name)
        if problem is not None:
            yield problem


def _field_problem(record: Record, name: str) -> Problem | None:
    def problem(kind: Kind, message: str, remedy: str) -> Problem:
        return Problem(record.path, record.line, kind, message, remedy)

    if name not in record.fields:
        has = ", ".join(record.fields) or "none"
        return problem(Kind.MISSING_FIELD, f"the row has no field '{name}'; it has: {has}.", how_to_rename(name, record.fields))
    value = record.fields[name]
    if not isinstance(value, str):
        return problem(Kind.NOT_TEXT, f"field '{name}' holds {json_type(value)}.", "Put a text in double quotes there.")
    if not value.strip():
        return problem(Kind.EMPTY_TEXT, f"field '{name}' is empty.", "Fill it, or remove the row.")
    if _HALF_A_CHARACTER.search(value):
        return problem(Kind.NOT_TEXT, f"field '{name}' holds half a character (a lone \\ud8xx).", "Write the row again as UTF-8.")
    return None


def how_to_rename(name: str, fields: Iterable[str]) -> str:
    """The remedy for a field that is not there."""
    near = difflib.get_close_matches(name, list(fields), n=1)
    if near:
        return f"Did you mean '{near[0]}'? Change the row or text_template."
    return "Add the field to the row, or take it out of text_template."
