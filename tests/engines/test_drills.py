"""Survival: whatever is killed, the run says what happened and `resume` completes it without repeating finished steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.conftest import until
from tests.services.fixtures import missing
from toolkit.core import events as ev
from toolkit.core import lifecycle, process
from toolkit.docker_engine import BuildImage


def start_and_reach(engine, run, step):
    lifecycle.start(engine, run)
    until(lambda: (run.folder / f"{step}.pid").exists())


def resume_to_the_end(engine, run, gate):
    gate.write_text("open")
    lifecycle.resume(engine, run)
    events = list(lifecycle.attach(engine, run))
    assert isinstance(events[-1], ev.RunFinished)
    worked = (run.folder / "worked.txt").read_text().split()
    assert worked.count("first") == 1, "a finished step was repeated"
    assert run.state().steps["first"].cached


def test_a_killed_build_program_is_noticed_and_resumed(local, make_run, gate):
    run = make_run(second={"wait_for": str(gate)})
    start_and_reach(local, run, "second")
    os.kill(_child_of(process.recall(run.folder / "driver.json")), signal.SIGKILL)
    assert isinstance(list(lifecycle.attach(local, run))[-1], ev.RunInterrupted)
    assert run.state().problem == "the build program was killed by SIGKILL"
    resume_to_the_end(local, run, gate)


def test_a_killed_driver_with_everything_under_it_is_noticed_and_resumed(local, make_run, gate):
    run = make_run(second={"wait_for": str(gate)})
    start_and_reach(local, run, "second")
    driver = process.recall(run.folder / "driver.json")
    child = _child_of(driver)
    for pid in (driver, child):
        os.kill(pid, signal.SIGKILL)
    assert isinstance(list(lifecycle.attach(local, run))[-1], ev.RunInterrupted)
    assert "its driver is gone" in run.state().problem
    resume_to_the_end(local, run, gate)


def test_a_killed_supervisor_leaves_the_build_program_at_work(local, make_run, gate):
    run = make_run(second={"wait_for": str(gate)})
    start_and_reach(local, run, "second")
    os.kill(process.recall(run.folder / "driver.json"), signal.SIGKILL)
    assert lifecycle.is_driven(local, run)
    gate.write_text("open")
    assert isinstance(list(lifecycle.attach(local, run))[-1], ev.RunFinished)


def test_a_killed_step_fails_the_run_and_is_resumed(real_engine, make_run, gate):
    run = make_run(second={"wait_for": str(gate)})
    start_and_reach(real_engine, run, "second")
    _kill_step(real_engine, run)
    assert isinstance(list(lifecycle.attach(real_engine, run))[-1], ev.StepFailed)
    assert "killed (137)" in run.state().problem
    resume_to_the_end(real_engine, run, gate)


@pytest.mark.engine
def test_a_killed_container_is_noticed_and_resumed(docker_engine, make_run, gate):
    run = make_run(second={"wait_for": str(gate)})
    start_and_reach(docker_engine, run, "second")
    docker_engine._container(run).kill()
    assert isinstance(list(lifecycle.attach(docker_engine, run))[-1], ev.RunInterrupted)
    assert run.state().problem == "the build container was killed"
    resume_to_the_end(docker_engine, run, gate)


@pytest.mark.engine
def test_a_container_that_runs_out_of_memory_says_so(small_docker_engine, make_run):
    run = make_run(second={"eat": 400})
    lifecycle.start(small_docker_engine, run)
    list(lifecycle.attach(small_docker_engine, run))
    state = run.state()
    assert state.status in ("failed", "interrupted") and "memory" in state.problem


@pytest.mark.engine
def test_a_build_image_that_is_not_there_says_so(docker_engine, make_run):
    from toolkit.errors import EngineError

    run = make_run()
    docker_engine._build_image = lambda: BuildImage("edge-toolkit/no-such-image:0")
    with pytest.raises(EngineError):
        lifecycle.start(docker_engine, run)
    assert run.state().status == "interrupted" and "did not start" in run.state().problem


def test_a_front_end_that_is_killed_leaves_the_run_alone(local, make_run, gate):
    run = make_run(second={"wait_for": str(gate)})
    code = "import sys; from pathlib import Path; from toolkit.core.run import Run, follow\nfor e in follow(Run(Path(sys.argv[1])), lambda: True): print(type(e).__name__, flush=True)"
    start_and_reach(local, run, "second")
    front = subprocess.Popen([sys.executable, "-c", code, str(run.folder)], stdout=subprocess.PIPE, text=True)
    assert front.stdout and front.stdout.readline().strip() == "RunRequested"
    front.kill()
    front.wait()
    front.stdout.close()
    gate.write_text("open")
    events = list(lifecycle.attach(local, run))
    assert isinstance(events[0], ev.RunRequested) and isinstance(events[-1], ev.RunFinished)


def test_a_terminal_that_hangs_up_leaves_the_run_alone(program, make_run, home, gate):
    """The starter runs in its own session on a pseudo-terminal, as under SSH; the terminal goes away under it."""
    run = make_run(second={"wait_for": str(gate)})
    code = (
        "import sys, time; from dataclasses import replace; from pathlib import Path; from toolkit import settings; from toolkit.core import lifecycle; "
        "from toolkit.core.run import Run; from toolkit.local_engine import LocalEngine; "
        "e = LocalEngine(replace(settings.load({}), home=Path(sys.argv[2]), build_python=Path(sys.executable), containers=Path(sys.argv[3]))); "
        "lifecycle.start(e, Run(Path(sys.argv[1]))); time.sleep(600)"
    )
    import pty

    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", code, str(run.folder), str(home), str(program)])
    until(lambda: (run.folder / "second.pid").exists())
    os.close(terminal)  # SIGHUP to the session of the starter
    os.waitpid(pid, 0)
    from toolkit.local_engine import LocalEngine
    from toolkit.settings import load

    engine = LocalEngine(load({}))
    assert lifecycle.is_driven(engine, run)
    gate.write_text("open")
    assert isinstance(list(lifecycle.attach(engine, run))[-1], ev.RunFinished)


def test_a_full_disk_ends_in_words_and_is_resumed(local, make_run, home, small_disk):
    run = make_run(second={"fill": True})
    lifecycle.start(local, run)
    assert isinstance(list(lifecycle.attach(local, run))[-1], ev.StepFailed)
    assert "The disk is full" in run.state().problem
    request = run.folder / "request.json"
    request.write_text(request.read_text().replace('"fill": true', '"fill": false'))
    lifecycle.resume(local, type(run)(run.folder))
    assert isinstance(list(lifecycle.attach(local, run))[-1], ev.RunFinished)
    assert (run.folder / "worked.txt").read_text().split().count("first") == 1


@pytest.fixture
def small_disk(home):
    """The home on a file system of 8 MB; needs the right to mount."""
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "edge-test", str(home)], capture_output=True, text=True)
    if done.returncode:
        missing("The right to mount a small disk", f"run as root ({done.stderr.strip()})")
    yield home
    subprocess.run(["umount", "-l", str(home)], check=True)


def _child_of(pid: int) -> int:
    until(lambda: Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def _kill_step(engine, run) -> None:
    pid = int((run.folder / "second.pid").read_text())
    if engine.name == "docker":
        code = f"import os; os.kill({pid}, 9)"
        assert engine._container(run).exec_run(["python3", "-c", code]).exit_code == 0
    else:
        os.kill(pid, signal.SIGKILL)
