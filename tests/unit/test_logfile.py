"""Logs of any size, read by line number while others write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.core.logfile import DRAWN, SLICE, LogFile, save
from toolkit.core.logsearch import Filtered, Pattern, search


def opened(path: Path) -> LogFile:
    log = LogFile(path)
    grown(log)
    return log


def grown(log: LogFile) -> LogFile:
    while log.grow():
        pass
    return log


def written(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.txt"


def lines_of(log: LogFile) -> list[str]:
    return [log.line(number) for number in range(len(log))]


def filtered(log: LogFile, text: str) -> Filtered:
    found = Filtered(log, Pattern(text))
    while found.grow():
        pass
    return found


def test_any_line_is_read_by_its_number(path):
    log = opened(written(path, "".join(f"line {number}\n" for number in range(100_000))))
    assert (len(log), log.line(0), log.line(77_777), log.line(99_999)) == (100_000, "line 0", "line 77777", "line 99999")
    assert log.line(100_000) == log.line(-1) == ""


def test_a_last_line_without_its_end_is_a_line(path):
    log = opened(written(path, "one\ntwo"))
    assert (lines_of(log), log.whole_lines) == (["one", "two"], 1)
    with open(path, "a") as out:
        out.write(" and a half\nthree")
    assert lines_of(grown(log)) == ["one", "two and a half", "three"]


def test_a_file_that_comes_later_is_found(path):
    log = opened(path)
    assert len(log) == 0
    written(path, "now\n")
    assert lines_of(grown(log)) == ["now"]


def test_a_file_that_was_cut_short_is_read_anew(path):
    log = opened(written(path, "old 1\nold 2\n"))
    written(path, "new\n")
    assert (lines_of(grown(log)), log.generation) == (["new"], 1)


def test_a_file_put_in_its_place_is_read_anew(path):
    log = opened(written(path, "old\n"))
    path.unlink()
    written(path, "a new one that is longer\n")
    assert lines_of(grown(log)) == ["a new one that is longer"]


def test_a_deleted_file_stays_readable(path):
    log = opened(written(path, "last words\n"))
    path.unlink()
    assert lines_of(grown(log)) == ["last words"]


def test_bytes_that_are_no_text_are_marked_and_spoil_nothing(path):
    assert lines_of(opened(written(path, b"caf\xe9\nnext\n"))) == ["caf\N{REPLACEMENT CHARACTER}", "next"]


def test_a_line_that_rewrites_itself_shows_its_newest_part(path):
    log = opened(written(path, "  0%|  | 0/9\r 50%|# | 4/9\r100%|##| 9/9\r\nWindows line\r\n"))
    assert lines_of(log) == ["100%|##| 9/9", "Windows line"]


def test_a_progress_bar_of_many_megabytes_shows_its_newest_part(path):
    log = opened(written(path, b"\r".join(b"%d of 400000" % number for number in range(400_000))))
    assert lines_of(log) == ["399999 of 400000"]


def test_terminal_codes_and_control_characters_never_reach_the_screen(path):
    raw = "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b]52;c;aGk=\x1b\\tab\there\x00\x07\x9b31m\n"
    (line,) = lines_of(opened(written(path, raw)))
    assert line == "red tab here31m"


def test_a_very_long_line_is_cut_when_shown_and_whole_when_copied(path):
    log = opened(written(path, "x" * 100_000 + "\nnext\n"))
    assert len(log.line(0)) < DRAWN + 40 and "100,000 bytes" in log.line(0)
    assert log.whole(0) == "x" * 100_000
    assert log.line(1) == "next"


def test_search_finds_the_next_one_in_either_direction_and_goes_on_at_the_other_end(path):
    log = opened(written(path, "error 1\nfine\nerror 2\nfine\n"))
    error = Pattern("error")
    assert search(log, error, 0) == 2
    assert search(log, error, 2) == 0
    assert search(log, error, 0, is_back=True) == 2
    assert search(log, error, -1) == 0
    assert search(log, Pattern("absent"), 1) is None


def test_search_reaches_across_slices(path):
    log = opened(written(path, "".join(f"line {number} {'-' * 80}\n" for number in range(40_000))))
    assert log.size > 3 * SLICE
    assert search(log, Pattern("line 39999 "), 0) == 39_999
    assert search(log, Pattern("line 3 "), 39_999, is_back=True) == 3
    assert list(filtered(log, "9999 -").numbers) == [9_999, 19_999, 29_999, 39_999]


@pytest.mark.parametrize(
    ("text", "fitting"),
    [("error", [0, 1]), ("Error", [1]), ("!error", [2, 3]), ("ÄRGER", []), ("Ärger", [3]), ("ärger", [2, 3]), ("!", [0])],
)
def test_case_counts_only_where_it_is_asked_for_and_an_exclamation_mark_turns_it_round(path, text, fitting):
    log = opened(written(path, "an error!\nAn Error\närger\nÄrger\n"))
    assert list(filtered(log, text).numbers) == fitting


def test_what_is_rewritten_is_not_found(path):
    log = opened(written(path, "loading 1%\rloading 99%\nother\n"))
    assert list(filtered(log, "loading 1%").numbers) == []
    assert list(filtered(log, "99%").numbers) == [0]


def test_a_filter_keeps_up_with_a_file_that_grows(path):
    log = opened(written(path, "keep 1\ndrop\nkee"))
    found = filtered(log, "keep")
    assert list(found.numbers) == [0]
    with open(path, "a") as out:
        out.write("p 2\ndrop\nkeep 3")
    grown(log)
    while found.grow():
        pass
    assert list(found.numbers) == [0, 2, 4]
    while found.grow():
        pass
    assert list(found.numbers) == [0, 2, 4]


def test_a_filter_starts_anew_with_a_file_that_did(path):
    log = opened(written(path, "keep 1\nkeep 2\nkeep 3\n"))
    found = filtered(log, "keep")
    written(path, "x\nkeep\n")
    grown(log)
    while found.grow():
        pass
    assert list(found.numbers) == [1]


def test_where_a_pattern_is_in_a_line_is_known():
    assert Pattern("a.b").places("A.B aab a.b") == [(0, 3), (8, 11)]
    assert Pattern("!a").places("aaa") == []


def test_a_log_is_saved_whole_or_by_lines_and_never_over_another_file(path, tmp_path):
    log = opened(written(path, "one\ntwo\x07\nthree\n"))
    assert save(log, tmp_path / "all.txt") == len("one\ntwo\x07\nthree\n")
    save(log, tmp_path / "some.txt", [1, 2])
    assert (tmp_path / "some.txt").read_text() == "two\nthree\n"
    with pytest.raises(FileExistsError):
        save(log, tmp_path / "all.txt")
