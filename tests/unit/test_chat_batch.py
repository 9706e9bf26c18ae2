"""Prompt files, their results, and transcripts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from toolkit.core.batch import Prompt, Result, as_line, read_prompts, summaries
from toolkit.core.chat import Finished, Sampling, Turn
from toolkit.core.engine import Exit, Server
from toolkit.core.serving import Limits, Serving
from toolkit.core.transcript import Talk, as_markdown, default_place, figures, save
from toolkit.errors import DataError, ModelOutOfMemory, ToolkitError

FINISHED = Finished("stop", 10, 20, 1500.0, 40.0, 2500.0, 371_000_000)


def test_a_text_file_has_a_prompt_a_line(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("\ufeffone\r\n\n  two  \n", "utf-8")
    assert read_prompts(tmp_path / "p.txt") == (Prompt(1, "one"), Prompt(3, "two"))


def test_a_jsonl_file_has_a_prompt_in_each_object(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "one\\ntwo", "response": "x"}\n')
    assert read_prompts(tmp_path / "p.jsonl") == (Prompt(1, "one\ntwo"),)


@pytest.mark.parametrize("line", ["[]", "{}", '{"prompt": 3}', '{"prompt": " "}', "no json"])
def test_a_line_without_a_prompt_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "one"}\n' + line + "\n")
    with pytest.raises(DataError, match="p.jsonl:2"):
        read_prompts(tmp_path / "p.jsonl")


def test_files_that_hold_no_prompt_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("empty.txt", "bytes.txt", "missing.txt"):
        with pytest.raises(DataError, match=name):
            read_prompts(tmp_path / name)


def test_results_are_summed_up_by_model_each_answer_by_its_tokens() -> None:
    fast, slow = Finished("stop", 1, 30, 100.0, 80.0), Finished("stop", 1, 10, 300.0, 40.0)
    results = [Result(1, "a", "base", "x", fast), Result(2, "b", "base", "y", slow), Result(3, "c", "base", "", None, "too long")]
    [summary] = summaries(results)
    assert (summary.answers, summary.problems, summary.tokens) == (2, 1, 40)
    assert (summary.first_token_ms, summary.tokens_per_second) == (200.0, 70.0)
    assert json.loads(as_line(results[0]))["figures"]["tokens"] == 30


def test_a_transcript_says_with_what_and_how(tmp_path: Path) -> None:
    turn = Turn("# not a heading\nof ours", "An **answer**.", "travel", Sampling(0.7, 0.9, 64, 3), FINISHED)
    page = as_markdown([Talk("image:1, travel", "sha256:abc", "2048 MB, 2 CPUs", [turn], "Be\nbrief.")], 0)
    assert "- image: `sha256:abc`" in page and "- limits: 2048 MB, 2 CPUs" in page and "- system prompt: Be brief." in page
    assert "> # not a heading\n> of ours\n\nAn **answer**." in page
    assert "temperature 0.7, top-p 0.9, at most 64 tokens, seed 3" in page
    assert "first token 1.5 s, 40.0 tokens/s, 20 tokens, 371.0 MB, waited 2.5 s, complete" in page


def test_figures_that_are_not_known_are_left_out() -> None:
    assert figures(Finished("stopped", 0, 0, 0.0, 0.0)) == "stopped by you"
    assert figures(Finished("stop", 3, 2, 50.0, 10.0)) == "first token 50 ms, 10.0 tokens/s, 2 tokens, complete"
    assert figures(Finished("length", 3, 256, 50.0, 10.0)) == "first token 50 ms, 10.0 tokens/s, cut at 256 tokens"


def test_a_transcript_is_written_whole_or_the_reason_told(tmp_path: Path) -> None:
    place = default_place(tmp_path, "edge-toolkit/travel-cpu:0001", 0, "md")
    save(place, "text")
    assert place.parent == tmp_path / "chats" and place.read_text() == "text" and place.name.endswith("edge-toolkit-travel-cpu-0001.md")
    with pytest.raises(ToolkitError, match="cannot be written"):
        save(place / "below", "text")


def test_a_file_that_is_not_there_is_named_once_and_plainly(tmp_path: Path) -> None:
    with pytest.raises(DataError) as told:
        read_prompts(tmp_path / "missing.txt")
    assert told.value.message == f"There is no file {tmp_path / 'missing.txt'}."


def test_a_model_that_does_not_even_load_is_not_to_be_asked_less(tmp_path: Path) -> None:
    class Killed:
        def ended(self, server: Server) -> Exit:
            return Exit(137, True)

    served = Serving(Killed(), Server(tmp_path / "s", "1"), Limits(300, 2), 421)
    with pytest.raises(ModelOutOfMemory) as told:
        served.wait_until_ready()
    assert "need about 421 MB" in told.value.hint and "shorten" not in told.value.hint
    assert "shorten" in served.why_it_broke_off("gone").hint
