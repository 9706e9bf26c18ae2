"""Datasets: every fault is told with file, line and remedy; nothing leaks; a split is stable."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from toolkit.core.dataset import check_dataset, read_rows, split_rows
from toolkit.core.jsonl import Kind, Problem
from toolkit.core.template import fill_template, template_fields
from toolkit.core.tokens import token_counter
from toolkit.errors import DataError, ModelError

TEMPLATE = "Q: {prompt}\nA: {response}\n"


def written(path: Path, *lines: str | bytes) -> Path:
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return path


def row(prompt: str, response: str = "Yes.", **more: object) -> str:
    return json.dumps({"prompt": prompt, "response": response, **more}, ensure_ascii=False)


def words(texts: list[str]) -> list[int]:
    """A tokenizer whose tokens are words."""
    return [len(text.split()) for text in texts]


def problems_of(path: Path, template: str = TEMPLATE) -> list[Problem]:
    return list(check_dataset([path], [], template).train.problems)


def only_problem(path: Path, template: str = TEMPLATE) -> Problem:
    problems = problems_of(path, template)
    assert len(problems) == 1, problems
    return problems[0]


def test_a_sound_file_is_counted_and_its_first_rows_are_shown(tmp_path):
    path = written(tmp_path / "train.jsonl", *(row(f"Question {number}?") for number in range(5)))
    report = check_dataset([path], [], TEMPLATE)
    assert report.train.rows == 5
    assert [first["prompt"] for first in report.train.first] == ["Question 0?", "Question 1?", "Question 2?"]
    assert report.fatal == report.warnings == ()
    assert report.held_out is None
    report.require_sound()


@pytest.mark.parametrize(
    ("line", "kind", "message", "remedy"),
    [
        ('{"prompt": "a",', Kind.BROKEN_JSON, "no valid JSON at column", "one JSON object per line"),
        ("[" * 100_000, Kind.BROKEN_JSON, "nested too deeply", "Keep the fields of a row flat"),
        ('{"prompt": ' + "9" * 5000 + "}", Kind.BROKEN_JSON, "too many digits", "texts in quotes"),
        ('["a", "b"]', Kind.NOT_AN_OBJECT, "the line holds a list", '{"prompt"'),
        ("null", Kind.NOT_AN_OBJECT, "the line holds null", '{"prompt"'),
        ('{"prompt": "a"}', Kind.MISSING_FIELD, "no field 'response'; it has: prompt", "Add the field"),
        ('{"prompt": "a", "responce": "b"}', Kind.MISSING_FIELD, "no field 'response'", "Did you mean 'responce'?"),
        ('{"prompt": 7, "response": "b"}', Kind.NOT_TEXT, "field 'prompt' holds a number", "double quotes"),
        ('{"prompt": true, "response": "b"}', Kind.NOT_TEXT, "field 'prompt' holds true or false", "double quotes"),
        ('{"prompt": "a", "response": "b", "fact": 1}', Kind.NOT_TEXT, "field 'fact' holds a number", "double quotes"),
        ('{"prompt": "a", "response": "\\ud83d"}', Kind.NOT_TEXT, "half a character", "UTF-8"),
        ('{"prompt": " ", "response": "b"}', Kind.EMPTY_TEXT, "field 'prompt' is empty", "remove the row"),
    ],
)
def test_a_broken_row_is_told_with_its_line_and_remedy(tmp_path, line, kind, message, remedy):
    problem = only_problem(written(tmp_path / "train.jsonl", row("fine"), line, row("also fine")))
    assert (problem.line, problem.kind) == (2, kind)
    assert message in problem.message
    assert remedy in problem.remedy
    assert problem.is_fatal
    assert str(problem).startswith(f"{tmp_path}/train.jsonl:2: ")


def test_a_pretty_printed_json_array_is_recognised(tmp_path):
    problem = problems_of(written(tmp_path / "train.jsonl", "[", "  " + row("a") + ",", "]"))[0]
    assert "one JSON value over many lines" in problem.remedy


def test_a_byte_that_is_not_utf8_is_told_with_its_offset_and_line(tmp_path):
    first = row("fine")
    bad = '{"prompt": "Málaga"}'.encode("latin-1")
    problem = only_problem(written(tmp_path / "train.jsonl", first, bad))
    offset = len(first) + 1 + bad.index(b"\xe1")
    assert (problem.kind, problem.line) == (Kind.WRONG_ENCODING, 2)
    assert f"byte {offset} (0xe1) is not UTF-8" in problem.message
    assert "Latin-1" in problem.remedy


def test_a_utf16_file_is_recognised(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes((row("a") + "\n").encode("utf-16"))
    assert "UTF-16" in problems_of(path)[0].remedy


@pytest.mark.parametrize("content", [b"", b"\n  \n\n"])
def test_a_file_without_rows_is_fatal(tmp_path, content):
    path = tmp_path / "train.jsonl"
    path.write_bytes(content)
    report = check_dataset([path], [], TEMPLATE)
    assert [problem.message for problem in report.fatal] == ["the file holds no rows."]


def test_a_byte_order_mark_and_windows_line_ends_are_told_once_and_do_no_harm(tmp_path):
    path = tmp_path / "train.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"".join(row(f"q{number}").encode() + b"\r\n" for number in range(3)))
    report = check_dataset([path], [], TEMPLATE)
    assert report.train.rows == 3
    assert [problem.kind for problem in report.warnings] == [Kind.BYTE_ORDER_MARK, Kind.WINDOWS_LINES]
    assert report.fatal == ()
    assert read_rows([path], TEMPLATE)[0] == {"prompt": "q0", "response": "Yes."}


def test_a_line_separator_inside_a_text_does_not_end_the_row(tmp_path):
    path = written(tmp_path / "train.jsonl", row("one\u2028two"))
    assert read_rows([path], TEMPLATE) == [{"prompt": "one\u2028two", "response": "Yes."}]


def test_a_field_that_no_row_has_is_told_once_with_the_fields_that_rows_have(tmp_path):
    path = written(tmp_path / "train.jsonl", *(row(f"q{number}") for number in range(50)))
    report = check_dataset([path], [], "{prompt} {context} {response}")
    assert len(report.fatal) == 1
    assert report.fatal[0].line == 0
    assert report.fatal[0].message == ("text_template names {context}, but no row has a field 'context'; rows have: prompt, response.")
    assert report.train.counts[Kind.MISSING_FIELD] == 50


def test_only_some_problems_of_a_kind_are_kept_but_all_are_counted(tmp_path):
    path = written(tmp_path / "train.jsonl", row("fine"), *["{"] * 500)
    report = check_dataset([path], [], TEMPLATE)
    assert len(report.fatal) == 20
    assert report.train.counts[Kind.BROKEN_JSON] == 500
    with pytest.raises(DataError) as raised:
        report.require_sound()
    assert raised.value.message.startswith(f"{path}:2: no valid JSON")
    assert raised.value.message.endswith("(499 more)")
    assert raised.value.hint


def test_repeated_rows_and_contradictions_are_warnings(tmp_path):
    path = written(tmp_path / "train.jsonl", row("Is it?"), row("is  it", "yes!"), row("Is it?", "No."))
    report = check_dataset([path], [], TEMPLATE)
    assert [(problem.line, problem.kind) for problem in report.warnings] == [(2, Kind.DUPLICATE), (3, Kind.CONFLICT)]
    assert "the row repeats train.jsonl:1" in report.warnings[0].message
    assert "train.jsonl:1 gets another response" in report.warnings[1].message
    assert report.fatal == ()


@pytest.mark.parametrize("asked", ["What is it?", "WHAT IS IT", "  what is\tit ?!"])
def test_a_held_out_prompt_that_training_sees_is_a_leak(tmp_path, asked):
    train = written(tmp_path / "train.jsonl", row("Other"), row("What is it?", "A."))
    held_out = written(tmp_path / "held.jsonl", row(asked, "B."))
    report = check_dataset([train], [held_out], TEMPLATE)
    assert [(problem.path, problem.kind) for problem in report.fatal] == [(held_out, Kind.LEAK)]
    assert "train.jsonl:2" in report.fatal[0].message


def test_signs_that_carry_meaning_make_another_prompt(tmp_path):
    train = written(tmp_path / "train.jsonl", row("What is C?"))
    held_out = written(tmp_path / "held.jsonl", row("What is C++?"))
    assert check_dataset([train], [held_out], TEMPLATE).fatal == ()


def test_rows_longer_than_allowed_are_fatal_and_lengths_are_counted(tmp_path):
    path = written(tmp_path / "train.jsonl", row("one"), row("one two three four"), row("a b"))
    report = check_dataset([path], [], "{prompt} {response}", words, max_tokens=4)
    assert [problem.message for problem in report.fatal] == ["the row has 5 tokens, max_tokens is 4."]
    assert "max_tokens" in report.fatal[0].remedy
    lengths = report.train.tokens
    assert (lengths.shortest, lengths.longest, lengths.total, lengths.mean) == (2, 5, 10, 10 / 3)
    assert lengths.bins == ((2, 2, 1), (3, 3, 1), (4, 4, 0), (5, 5, 1))


def test_histogram_bins_hold_every_row_however_wide_the_range(tmp_path):
    path = written(tmp_path / "train.jsonl", *(row("w " * count) for count in range(1, 302, 3)))
    bins = check_dataset([path], [], TEMPLATE, words).train.tokens.bins
    assert len(bins) <= 10
    assert sum(count for _, _, count in bins) == 101
    assert all(earlier[1] + 1 == later[0] for earlier, later in zip(bins, bins[1:], strict=False))


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(DataError, match="nowhere.jsonl does not exist.*Correct the path"):
        check_dataset([tmp_path / "nowhere.jsonl"], [], TEMPLATE)
    with pytest.raises(DataError, match="is a folder"):
        check_dataset([tmp_path], [], TEMPLATE)


def test_reading_rows_stops_at_the_first_fault(tmp_path):
    path = written(tmp_path / "train.jsonl", row("a"), '{"prompt": "b"}')
    with pytest.raises(DataError, match="train.jsonl:2: the row has no field 'response'"):
        read_rows([path], TEMPLATE)


def test_template_fields_are_words_in_braces_and_other_braces_are_text():
    template = '{"ask": "{prompt}", "set": {}, "again": "{prompt}"} { response } {response}'
    assert template_fields(template) == ("prompt", "response")
    filled = fill_template(template, {"prompt": "{response}", "response": "b"})
    assert filled == '{"ask": "{response}", "set": {}, "again": "{response}"} { response } b'


def test_a_split_keeps_the_share_and_never_the_same_prompt_on_both_sides():
    rows = [{"prompt": f"Question {number // 2}", "response": str(number)} for number in range(1000)]
    train, held_out = split_rows(rows, 0.1, 17, TEMPLATE)
    assert len(held_out) == 100
    assert len(train) == 900
    assert not {row["prompt"] for row in train} & {row["prompt"] for row in held_out}


def test_a_split_depends_on_content_and_seed_and_not_on_order():
    rows = [{"prompt": f"Question {number}", "response": "a"} for number in range(200)]

    def held(ordered: list[dict[str, str]], seed: int) -> set[str]:
        return {row["prompt"] for row in split_rows(ordered, 0.2, seed, TEMPLATE)[1]}

    assert held(rows, 1) == held(rows[::-1], 1)
    assert held(rows, 1) != held(rows, 2)


def test_a_split_leaves_rows_on_both_sides_however_few_there_are():
    rows = [{"prompt": "a", "response": "1"}, {"prompt": "b", "response": "2"}]
    train, held_out = split_rows(rows, 0.01, 1, TEMPLATE)
    assert (len(train), len(held_out)) == (1, 1)
    with pytest.raises(DataError, match="there are too few different prompts"):
        split_rows([rows[0], {"prompt": "A?", "response": "2"}], 0.5, 1, TEMPLATE)


def test_the_time_for_many_rows_grows_no_faster_than_their_number(tmp_path):
    def seconds(count: int) -> float:
        path = written(tmp_path / f"{count}.jsonl", *(row(f"Question {number}?") for number in range(count)))
        started = time.process_time()
        assert check_dataset([path], [], TEMPLATE).train.rows == count
        return time.process_time() - started

    seconds(1000)  # first use pays for imports and tables
    assert seconds(200_000) < 40 * seconds(20_000)  # ten times the rows; a quadratic check would take a hundred times as long


def test_a_model_folder_without_a_tokenizer_cannot_count(tmp_path):
    with pytest.raises(ModelError, match="has no tokenizer.json"):
        token_counter(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="is not a tokenizer"):
        token_counter(tmp_path)
