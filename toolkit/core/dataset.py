"""Check training and held-out rows before anything long starts. Reads files as streams; no PyTorch, no terminal."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.core.jsonl import Kind, Problem, Record, read_jsonl
from toolkit.core.rows import (
    RESPONSE,
    Row,
    asked_fields,
    digest,
    how_to_rename,
    normal,
    read_rows,
    row_problems,
    split_rows,
    texts,
)
from toolkit.core.template import fill_template, template_fields
from toolkit.core.tokens import TokenCounter
from toolkit.errors import DataError

__all__ = ["DatasetReport", "PartReport", "Row", "TokenLengths", "check_dataset", "read_rows", "split_rows"]

FIRST_ROWS = 3
KEPT_PER_KIND = 20
"""Problems of a kind that are kept with their place; the rest is only counted."""
KEPT_FIELDS = 1000
"""Names of fields that are remembered, should every row bring new ones."""
BATCH = 512
"""Rows whose tokens are counted at once."""
BINS = 10


@dataclass(frozen=True)
class TokenLengths:
    """How long the rows are in tokens, over all rows."""

    shortest: int
    longest: int
    mean: float
    total: int
    bins: tuple[tuple[int, int, int], ...]
    """(from, to, rows) with both ends included, equally wide."""


@dataclass(frozen=True)
class PartReport:
    """What one part of a dataset holds: the training rows, or the held-out ones."""

    name: str
    paths: tuple[Path, ...]
    rows: int
    """Sound rows."""
    first: tuple[Row, ...]
    tokens: TokenLengths | None
    problems: tuple[Problem, ...]
    """The first of each kind."""
    counts: dict[Kind, int]
    """How many there are of each kind."""


@dataclass(frozen=True)
class DatasetReport:
    train: PartReport
    held_out: PartReport | None

    @property
    def parts(self) -> tuple[PartReport, ...]:
        return (self.train,) if self.held_out is None else (self.train, self.held_out)

    @property
    def fatal(self) -> tuple[Problem, ...]:
        """Problems that a run must not start with."""
        return tuple(problem for part in self.parts for problem in part.problems if problem.is_fatal)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for part in self.parts for problem in part.problems if not problem.is_fatal)

    def require_sound(self) -> None:
        """
        Raises:
            DataError: there is a fatal problem; the first is told, and how many more there are.
        """
        if not self.fatal:
            return
        total = sum(count for part in self.parts for kind, count in part.counts.items() if kind.is_fatal)
        more = f" ({total - 1} more)" if total > 1 else ""
        raise DataError(f"{self.fatal[0].place}: {self.fatal[0].message}{more}", self.fatal[0].remedy)


def check_dataset(
    train: Sequence[Path],
    held_out: Sequence[Path],
    text_template: str,
    count_tokens: TokenCounter | None = None,
    max_tokens: int = 0,
) -> DatasetReport:
    """Everything wrong with a dataset. Without a counter, lengths are not checked.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    seen = _Seen()
    length = _LengthCheck(count_tokens, max_tokens)
    train_report = _check_part("train", train, text_template, length, seen, None)
    if not held_out:
        return DatasetReport(train_report, None)
    held_out_report = _check_part("held-out", held_out, text_template, length, _Seen(), seen)
    return DatasetReport(train_report, held_out_report)


@dataclass
class _Seen:
    """Where each prompt and each row stood first; 64-bit digests, so a million rows fit in memory."""

    paths: list[Path] = field(default_factory=list)
    prompts: dict[int, int] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)

    def place(self, packed: int) -> str:
        return f"{self.paths[packed & 0xFFFF].name}:{packed >> 16}"

    def pack(self, record: Record) -> int:
        if not self.paths or self.paths[-1] != record.path:
            self.paths.append(record.path)
        return record.line << 16 | len(self.paths) - 1


@dataclass(frozen=True)
class _LengthCheck:
    count: TokenCounter | None
    max_tokens: int


@dataclass
class _Tally:
    """What has been found so far in one part."""

    rows: int = 0
    first: list[Row] = field(default_factory=list)
    lengths: Counter[int] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    present: Counter[str] = field(default_factory=Counter)

    def tell(self, problem: Problem) -> None:
        self.counts[problem.kind] += 1
        if self.counts[problem.kind] <= KEPT_PER_KIND:
            self.problems.append(problem)

    def note_fields(self, record: Record) -> None:
        if len(self.present) < KEPT_FIELDS:
            self.present.update(record.fields.keys())

    def add(self, row: Row) -> None:
        self.rows += 1
        if len(self.first) < FIRST_ROWS:
            self.first.append(row)


def _check_part(name: str, paths: Sequence[Path], text_template: str, length: _LengthCheck, seen: _Seen, other: _Seen | None) -> PartReport:
    tally = _Tally()
    sound = _sound_records(paths, template_fields(text_template), tally)
    asked = asked_fields(text_template)
    while batch := list(itertools.islice(sound, BATCH)):
        for record in batch:
            row = texts(record)
            tally.add(row)
            for problem in _repeats(record, row, asked, seen, other):
                tally.tell(problem)
        _check_lengths(batch, text_template, length, tally)
    problems = _with_absent_fields(tally, tuple(paths), template_fields(text_template))
    return PartReport(name, tuple(paths), tally.rows, tuple(tally.first), _lengths(tally.lengths), problems, dict(tally.counts))


def _sound_records(paths: Sequence[Path], fields: tuple[str, ...], tally: _Tally) -> Iterator[Record]:
    """The records that are rows for this template; what is wrong with the others goes to the tally."""
    for found in itertools.chain.from_iterable(map(read_jsonl, paths)):
        if isinstance(found, Problem):
            tally.tell(found)
            continue
        tally.note_fields(found)
        problems = list(row_problems(found, fields))
        for problem in problems:
            tally.tell(problem)
        if not problems:
            yield found


def _repeats(record: Record, row: Row, asked: tuple[str, ...], seen: _Seen, other: _Seen | None) -> Iterator[Problem]:
    """This row's leak into the other part, or its repetition in its own."""
    prompt = [normal(row[name]) for name in asked]
    prompt_key, row_key = digest(*prompt), digest(*prompt, normal(row.get(RESPONSE, "")))
    if other is not None and prompt_key in other.prompts:
        message = f"the prompt also stands in {other.place(other.prompts[prompt_key])}, so training sees it."
        yield Problem(record.path, record.line, Kind.LEAK, message, "Remove it from one of the two files, or ask otherwise.")
    here = seen.pack(record)
    if row_key in seen.rows:
        message = f"the row repeats {seen.place(seen.rows[row_key])}."
        yield Problem(record.path, record.line, Kind.DUPLICATE, message, "Remove one, unless it shall count double.")
    elif prompt_key in seen.prompts:
        message = f"the prompt of {seen.place(seen.prompts[prompt_key])} gets another response here."
        yield Problem(record.path, record.line, Kind.CONFLICT, message, "Keep one, unless both are right.")
    seen.rows.setdefault(row_key, here)
    seen.prompts.setdefault(prompt_key, here)


def _check_lengths(batch: list[Record], text_template: str, length: _LengthCheck, tally: _Tally) -> None:
    if length.count is None:
        return
    filled = [fill_template(text_template, texts(record)) for record in batch]
    for record, tokens in zip(batch, length.count(filled), strict=True):
        tally.lengths[tokens] += 1
        if length.max_tokens and tokens > length.max_tokens:
            message = f"the row has {tokens} tokens, max_tokens is {length.max_tokens}."
            remedy = "Shorten the row, or raise max_tokens (memory and time grow with it)."
            tally.tell(Problem(record.path, record.line, Kind.TOO_LONG, message, remedy))


def _lengths(lengths: Counter[int]) -> TokenLengths | None:
    if not lengths:
        return None
    shortest, longest, rows = min(lengths), max(lengths), lengths.total()
    width = -(-(longest - shortest + 1) // BINS)
    starts = range(shortest, longest + 1, width)
    counts: Counter[int] = Counter()
    for length, count in lengths.items():
        counts[(length - shortest) // width] += count
    bins = tuple((start, start + width - 1, counts[number]) for number, start in enumerate(starts))
    total = sum(length * count for length, count in lengths.items())
    return TokenLengths(shortest, longest, total / rows, total, bins)


def _with_absent_fields(tally: _Tally, paths: tuple[Path, ...], fields: tuple[str, ...]) -> tuple[Problem, ...]:
    """The problems; a field that no row has is told once for the file, in place of once a row."""
    absent = [name for name in fields if tally.present and not tally.present[name]]
    if not absent:
        return tuple(tally.problems)
    has = ", ".join(name for name, _ in tally.present.most_common(KEPT_PER_KIND))
    told = [
        Problem(
            paths[0],
            0,
            Kind.MISSING_FIELD,
            f"text_template names {{{name}}}, but no row has a field '{name}'; rows have: {has}.",
            how_to_rename(name, tally.present),
        )
        for name in absent
    ]
    rest = [problem for problem in tally.problems if problem.kind is not Kind.MISSING_FIELD]
    return (*told, *rest)
