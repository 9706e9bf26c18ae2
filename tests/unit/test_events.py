"""Events: whole lines, torn lines, lines from other versions, and last words on a full disk."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from toolkit.core import events as ev


@pytest.mark.parametrize(
    "event",
    [
        ev.RunRequested(run="0001-build-x", kind="build", steps=("quantize",)),
        ev.StepProgress(step="finetune", done=3, total=10, unit="steps", metrics={"loss": 1.5}),
        ev.StepFailed(step="export", error="no", hint="do", exit_code=3),
        ev.RunInterrupted(exit_code=137, out_of_memory=True, reason="out of memory"),
    ],
)
def test_an_event_survives_its_line(event):
    assert ev.from_line(ev.to_line(event)) == event


def test_a_line_with_fields_of_a_later_version_is_read_without_them():
    line = json.dumps({"type": "StepStarted", "step": "quantize", "at": 1.0, "colour": "green"})
    assert ev.from_line(line) == ev.StepStarted(step="quantize", at=1.0)


@pytest.mark.parametrize("line", ["", "{", '{"type":"Unheard"}', "[]", "null", '{"type":"StepStarted"}', b"\xff\xfe"])
def test_what_is_no_event_is_none(line):
    assert ev.from_line(line) is None


def test_appending_after_a_torn_line_loses_only_that_line(tmp_path):
    ev.append(tmp_path, ev.StepStarted(step="one", at=1))
    with open(tmp_path / ev.EVENTS_FILE, "ab") as torn:
        torn.write(b'{"type":"StepStarted","st')
    ev.append(tmp_path, ev.StepStarted(step="two", at=2))
    read = [ev.from_line(line) for line in (tmp_path / ev.EVENTS_FILE).read_bytes().splitlines()]
    assert [event.step for event in read if event] == ["one", "two"]


def test_writers_of_several_processes_never_tear_each_others_lines(tmp_path):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import events as ev\nfor n in range(300): ev.append(sys.argv[2], ev.StepProgress(step=sys.argv[3], done=n, message='x' * 200))"
    folder = ev.__file__.rsplit("/", 1)[0]
    writers = [subprocess.Popen([sys.executable, "-c", code, folder, str(tmp_path), name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    read = [ev.from_line(line) for line in (tmp_path / ev.EVENTS_FILE).read_bytes().splitlines()]
    assert len(read) == 900 and all(read)


def test_the_reserve_can_be_given_up_once(tmp_path):
    ev.make_reserve(tmp_path)
    assert ev.release_reserve(tmp_path)
    assert not ev.release_reserve(tmp_path)
