"""Processes of this machine: known by pid and start, so that a later one with the same pid is nobody we know."""

from __future__ import annotations

import os
import subprocess
import sys

from toolkit.core import process


def test_this_process_lives_under_its_identity():
    assert process.lives(process.identity())


def test_another_process_with_the_same_pid_is_not_the_one_we_knew():
    assert not process.lives(f"{os.getpid()}:1")
    assert not process.lives("")


def test_a_process_that_ended_is_not_recalled(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process.remember(tmp_path / "p.json", child.pid)
    assert process.recall(tmp_path / "p.json") == child.pid
    child.kill()
    child.wait()
    assert process.recall(tmp_path / "p.json") is None


def test_what_is_started_detached_gets_its_secrets_by_a_pipe_and_its_own_session(tmp_path):
    code = "import os, sys; print(sys.stdin.read(), os.getsid(0) == os.getpid())"
    pid = process.start_detached([sys.executable, "-c", code], tmp_path / "log", dict(os.environ), stdin=b"secret")
    os.waitpid(pid, 0)
    assert (tmp_path / "log").read_text() == "secret True\n"
