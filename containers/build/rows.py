"""Rows of text for training, calibration and evaluation: read from JSONL, put through the template, tokenized."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from step_io import StepError

FEWEST_CALIBRATION_TOKENS = 128
FEWEST_SEQUENCES = 4
"""Most of them to search with, the others to check on."""
MOST_OF_ONE_TOKEN = 0.9
_NO_CALIBRATION = 'Or set algorithm = "rtn", which needs none.'
_FIELD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Tokens:
    """A row's token ids; `answer_from` is where the part starts that the loss or the perplexity counts."""

    ids: list[int]
    answer_from: int


def read_rows(path: Path) -> list[dict]:
    """The rows of a JSONL file.

    Raises:
        StepError: a line is no JSON object, or there is none at all.
    """
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise StepError(f"{path.name}, line {number} is not a JSON object.", "Write one row a line, as JSON.")
        rows.append(row)
    if not rows:
        raise StepError(f"{path.name} has no rows.", "Give at least one row, or leave the file out of the recipe.")
    return rows


def render(template: str, row: dict) -> str:
    """The row's text: every `{field}` of the template replaced by the row's own."""

    def value(match: re.Match) -> str:
        if match[1] not in row:
            raise StepError(
                f"A row has no field {match[1]!r}: {json.dumps(row, ensure_ascii=False)[:120]}",
                "Add the field to the row, or change data.text_template in the recipe.",
            )
        return str(row[match[1]])

    return _FIELD.sub(value, template)


def split_at_response(template: str) -> tuple[str, str]:
    """The template before the response, and from the response on.

    Raises:
        StepError: the template has no response to train on.
    """
    before, field, after = template.partition("{response}")
    if not field:
        raise StepError("data.text_template has no {response}.", 'Add it, or set train_on = "text".')
    return before, field + after


def tokenize_pair(tokenizer, before: str, answer: str) -> Tokens:
    """Token ids of the whole text, tokenized in one piece, and the first token that holds some of the answer."""
    encoded = tokenizer(before + answer, add_special_tokens=False, return_offsets_mapping=True)
    ends = [end for _start, end in encoded["offset_mapping"]]
    answer_from = next((place for place, end in enumerate(ends) if end > len(before)), len(ends))
    return Tokens(encoded["input_ids"], answer_from)


def tokenize_row(tokenizer, template: str, row: dict, train_on: str) -> Tokens:
    """A training row as the model will see it."""
    if train_on == "text":
        return tokenize_pair(tokenizer, "", render(template, row))
    before, after = split_at_response(template)
    return tokenize_pair(tokenizer, render(before, row), render(after, row))


def joined_ids(tokenizer, template: str, rows: list[dict], tokens: int, length: int) -> list[list[int]]:
    """About `tokens` tokens of text, cut into sequences of `length`; rows with a `text` field are taken as they are."""
    return _cut(_first_ids(tokenizer, template, rows, max(tokens, length)), length)


def _first_ids(tokenizer, template: str, rows: list[dict], tokens: int) -> list[int]:
    ids: list[int] = []
    for row in rows:
        text = str(row["text"]) if "text" in row else render(template, row)
        ids += tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(ids) >= tokens:
            break
    return ids[:tokens]


def _cut(ids: list[int], length: int) -> list[list[int]]:
    """Sequences of one length; what is left over is dropped."""
    length = max(min(length, len(ids)), 1)
    return [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)]


def calibration_ids(tokenizer, template: str, file: Path, samples: int, length: int) -> list[list[int]]:
    """Up to `samples` sequences of one length from the rows of a file; shorter ones where the text is short.

    Raises:
        StepError: the text is too short or too uniform to measure a model's activations on.
    """
    found = _first_ids(tokenizer, template, read_rows(file), samples * length)
    if len(found) < FEWEST_CALIBRATION_TOKENS:
        raise StepError(
            f"{file}: the calibration text has {len(found)} tokens; {FEWEST_CALIBRATION_TOKENS} are the least.",
            f"Add text: to the files of [quantize] calibration, or else to the first adapter's rows. {_NO_CALIBRATION}",
        )
    token, times = Counter(found).most_common(1)[0]
    if times > MOST_OF_ONE_TOKEN * len(found):
        raise StepError(
            f"{file}: {times} of the {len(found)} tokens of the calibration text are one and the same: {tokenizer.decode([token])!r}.",
            f"Give text like what the model will read, in [quantize] calibration. {_NO_CALIBRATION}",
        )
    return _cut(found, min(length, len(found) // FEWEST_SEQUENCES))
