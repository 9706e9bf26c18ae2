"""Watching, leaving, stopping and resuming a run, each from a process of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

from tests.cli.desk import ROOT, until

ESCAPE = "\x1b"


def lines_until(process: subprocess.Popen, wanted: str) -> list[str]:
    """What the process prints up to the line that holds `wanted`."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if wanted in line:
            return lines
    raise AssertionError(f"'{wanted}' never came; it said: {lines} {process.stderr.read()}")


def test_ctrl_c_leaves_the_run_at_work_and_says_how_to_come_back(desk):
    run = desk.run_until_it_waits()
    watcher = desk.start("attach", "last")
    lines_until(watcher, "finetune-travel")
    watcher.send_signal(signal.SIGINT)
    _, said = watcher.communicate(timeout=30)
    assert watcher.returncode == 130
    assert f"Detached; run {run.id} goes on." in said and f"edge attach {run.id}" in said
    assert "Traceback" not in said
    assert run.is_locked()
    desk.gate.touch()
    assert "finished in" in desk.edge("attach", run.id).stdout


def test_a_run_that_was_started_here_is_left_by_ctrl_c_too(desk):
    desk.script(finetune={"wait_for": str(desk.gate)})
    starter = desk.start("run", desk.recipe)
    lines_until(starter, "finetune-travel started")
    starter.send_signal(signal.SIGINT)
    _, said = starter.communicate(timeout=30)
    assert (starter.returncode, "Traceback" in said) == (130, False)
    assert desk.run().is_locked()


def test_two_watchers_see_the_same_and_a_late_one_sees_all_of_it(desk):
    run = desk.run_until_it_waits()
    early = desk.start("attach", run.id, "--json")
    json.loads(early.stdout.readline())
    desk.gate.touch()
    rest = early.stdout.read()
    late = desk.edge("attach", run.id, "--json").stdout
    assert late.splitlines()[1:] == rest.splitlines()


def test_a_run_is_stopped_and_resumed_from_elsewhere(desk):
    run = desk.run_until_it_waits()
    stopped = desk.edge("stop", "last")
    assert (stopped.returncode, stopped.stdout) == (0, "")
    assert f"edge resume {run.id}" in stopped.stderr
    assert json.loads(desk.edge("show", "last", "--json").stdout)["state"]["status"] == "stopped"
    again = desk.edge("stop", "last")
    assert again.returncode == 5 and "is not running; it is stopped" in again.stderr
    desk.gate.touch()
    resumed = desk.edge("resume", "last")
    assert resumed.returncode == 0, resumed.stderr
    assert "quantize done already" in resumed.stdout
    assert "requested 2 times" in desk.edge("show", "last").stdout
    finished = desk.edge("resume", "last")
    assert finished.returncode == 5 and "there is nothing to resume" in finished.stderr


def test_a_run_is_not_driven_by_two(desk):
    run = desk.run_until_it_waits()
    second = desk.edge("resume", run.id)
    assert (second.returncode, second.stdout) == (5, "")
    assert f"Run {run.id} is being driven already." in second.stderr and "edge attach" in second.stderr


def test_of_two_who_resume_at_once_one_drives_and_the_other_is_told(desk):
    run = desk.run_until_it_waits()
    desk.edge("stop", run.id)
    both = [desk.start("resume", run.id, "--detach") for _ in range(2)]
    said = [process.communicate(timeout=60)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 5]
    assert "is being driven already" in "".join(said)
    assert run.state().requests == 2


def test_a_watcher_whose_reader_goes_away_is_quiet_and_the_run_goes_on(desk):
    run = desk.run_until_it_waits()
    watcher = desk.start("attach", run.id)
    lines_until(watcher, "finetune-travel")
    watcher.stdout.close()
    desk.gate.touch()
    watcher.wait(timeout=60)
    assert watcher.stderr.read() == ""
    assert "finished in" in desk.edge("attach", run.id).stdout


def test_a_failing_step_says_why_what_to_do_and_how_to_go_on(desk):
    desk.script(export={"fail": "the weights are upside down"})
    done = desk.edge("run", desk.recipe)
    assert done.returncode == 1
    assert "export-cpu FAILED: the weights are upside down" in done.stdout
    for part in ("export-cpu: the weights are upside down", "Turn them round.", f"edge resume {desk.run().id}"):
        assert part in done.stderr
    shown = desk.edge("show", "last").stdout
    assert "problem: export-cpu: the weights are upside down\n  Turn them round." in shown


def test_what_is_piped_is_plain_lines_with_few_of_progress(desk):
    desk.script(finetune={"progress": 200})
    done = desk.edge("run", desk.recipe)
    assert ESCAPE not in done.stdout + done.stderr and "\r" not in done.stdout
    assert all(re.match(r"\d\d:\d\d:\d\d \S", line) for line in done.stdout.splitlines())
    assert 1 <= sum("finetune-travel" in line and "/200 steps" in line for line in done.stdout.splitlines()) <= 3


def test_a_terminal_shows_step_rate_time_left_and_loss(desk):
    desk.script(finetune={"progress": 40, "gap": 0.1})
    seen = _on_a_terminal(desk, "run", str(desk.recipe))
    assert ESCAPE in seen
    shown = re.search(r"finetune-travel .*?(\d+) steps/40 steps  ([\d.]+) steps/s  ETA ([\d.]+ s)  loss ([\d.]+)", seen)
    assert shown, seen[-3000:]
    assert float(shown[4]) == float(f"{2 / int(shown[1]):.4g}")
    assert "finished in" in seen


def test_ctrl_c_on_a_terminal_leaves_the_cursor_and_the_run_alone(desk):
    desk.script(finetune={"progress": 3, "wait_for": str(desk.gate)})
    seen = _on_a_terminal(desk, "run", str(desk.recipe), interrupt_after="steps/3 steps", code=130)
    assert "Detached; run 0001-build-small goes on." in seen
    assert seen.rfind("\x1b[?25h") > seen.rfind("\x1b[?25l"), "the cursor stays hidden"
    assert desk.run().is_locked()


def _on_a_terminal(desk, *arguments: str, interrupt_after: str = "", code: int = 0) -> str:
    """Everything `edge` shows on a terminal of 120 columns; Ctrl-C is pressed once `interrupt_after` was seen."""
    environ = desk.environ(COLUMNS="120", LINES="40", TERM="xterm")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(ROOT)
        os.execve(sys.executable, [sys.executable, "-m", "toolkit", *arguments], environ)
    seen, deadline = "", time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                seen += os.read(terminal, 1 << 16).decode("utf-8", "replace")
            except OSError:  # the other end is closed
                break
            if interrupt_after and interrupt_after in seen:
                os.write(terminal, b"\x03")
                interrupt_after = ""
        until(lambda: _has_ended(pid, code))
    finally:
        os.close(terminal)
    return seen


def _has_ended(pid: int, code: int) -> bool:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        assert os.waitstatus_to_exitcode(status) == code
    return bool(ended)
