"""How busy the machine is, read from what the kernel and the driver say."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from toolkit.core import events as ev
from toolkit.core.machine import Recorder, Sample, Sampler, answer_of
from toolkit.core.run import RunState
from toolkit.core.wording import as_text

MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:   10000000 kB\n"
GIB = 1 << 30


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc, and a PATH without a graphics driver."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "meminfo").write_text(MEMINFO)
    write_ticks(tmp_path, user=100, idle=900)
    return tmp_path


def write_ticks(proc: Path, user: int, idle: int, waiting_for_disk: int = 0) -> None:
    (proc / "stat").write_text(f"cpu  {user} 0 0 {idle} {waiting_for_disk} 0 0 0 7 0\ncpu0 1 1 1 1\n")


def sampler(proc: Path) -> Sampler:
    return Sampler(proc, proc / "cgroup")


def driver(proc: Path, script: str) -> None:
    """An nvidia-smi that is this shell script."""
    tool = proc / "bin" / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


def test_the_busy_share_is_that_since_the_last_sample(proc: Path) -> None:
    machine = sampler(proc)
    write_ticks(proc, user=130, idle=960, waiting_for_disk=10)
    assert machine.sample().cpu == 0.3
    write_ticks(proc, user=230, idle=960, waiting_for_disk=10)
    assert machine.sample().cpu == 1.0
    assert machine.sample().cpu == 1.0, "no time has passed: as before"


def test_memory_is_what_could_not_be_given_to_somebody_else(proc: Path) -> None:
    sample = sampler(proc).sample()
    assert (sample.memory, sample.memory_total) == (6_000_000 * 1024, 16_000_000 * 1024)


@pytest.mark.parametrize(
    ("folder", "limit", "used", "idle"),
    [
        (".", "memory.max", "memory.current", "inactive_file"),
        ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ],
)
def test_in_a_container_with_a_limit_memory_is_the_containers(proc: Path, folder: str, limit: str, used: str, idle: str) -> None:
    group = proc / "cgroup" / folder
    group.mkdir(parents=True)
    (group / limit).write_text(f"{4 * GIB}\n")
    (group / used).write_text(f"{3 * GIB}\n")
    (group / "memory.stat").write_text(f"anon 5\n{idle} {GIB}\n")
    sample = sampler(proc).sample()
    assert (sample.memory, sample.memory_total) == (2 * GIB, 4 * GIB), "files that could be dropped are not counted"


@pytest.mark.parametrize("limit", ["max", str(1 << 62)])
def test_a_group_without_a_limit_is_the_machine(proc: Path, limit: str) -> None:
    (proc / "cgroup").mkdir()
    (proc / "cgroup" / "memory.max").write_text(limit)
    (proc / "cgroup" / "memory.current").write_text("5")
    assert sampler(proc).sample().memory_total == 16_000_000 * 1024


def test_without_a_driver_there_are_no_graphics_figures(proc: Path) -> None:
    sample = sampler(proc).sample()
    assert (sample.gpu, sample.gpu_memory, sample.gpu_memory_total) == (None, None, None)


def test_all_graphics_processors_are_told_together(proc: Path) -> None:
    driver(proc, "echo '90, 1000, 8000'; echo '10, 0, 8000'")
    sample = sampler(proc).sample()
    assert (sample.gpu, sample.gpu_memory, sample.gpu_memory_total) == (0.5, 1000 << 20, 16000 << 20)


@pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'", "echo '[N/A], [N/A], [N/A]'", "true"])
def test_a_driver_that_does_not_say_is_left_alone_for_a_while(proc: Path, script: str) -> None:
    asked = proc / "asked"
    driver(proc, f"echo once >> {asked}\n{script}")
    machine = sampler(proc)
    assert machine.sample().gpu is machine.sample().gpu is None
    assert asked.read_text() == "once\n"


def test_a_program_that_hangs_is_given_up(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        answer_of(["/bin/sh", "-c", "read line < /dev/zero || exec /bin/sleep 60"], 0.1)


def test_a_machine_that_says_nothing_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert Sampler(tmp_path, tmp_path).sample() == Sample(0.0, 0, 0)


def test_after_it_is_stopped_a_recorder_tells_nothing() -> None:
    told: list[Sample] = []
    came = threading.Event()
    recorder = Recorder(lambda sample: (told.append(sample), came.set()), seconds=0.001)
    assert came.wait(20)
    recorder.stop()
    count = len(told)
    assert not any(thread.join(20) for thread in threading.enumerate() if thread.name == "machine")
    assert len(told) == count


def test_a_recorder_outlives_a_disk_that_is_full() -> None:
    tries, enough = [], threading.Event()

    def refuse(sample: Sample) -> None:
        tries.append(sample)
        if len(tries) > 2:
            enough.set()
        raise OSError(28, "No space left on device")

    recorder = Recorder(refuse, seconds=0.001)
    assert enough.wait(20)
    recorder.stop()


def test_a_sample_is_for_programs_and_says_nothing_to_people() -> None:
    assert as_text(ev.MachineSampled(cpu=0.5, memory=1, memory_total=2), RunState()) == ""
