"""An engine that goes away and comes back, with a run under way: a daemon of our own, so that no other container suffers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.engines.conftest import until
from tests.services.fixtures import missing
from toolkit.core import events as ev
from toolkit.core import lifecycle

pytestmark = pytest.mark.engine


class Daemon:
    """A second dockerd with its own folder and socket, no network of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/d.sock"

    def start(self) -> None:
        places = {"--data-root": "data", "--exec-root": "exec", "--pidfile": "pid"}
        # In a network namespace of its own: without it, this daemon would take the bridge away from the machine's own.
        argv = ["unshare", "--net", "dockerd", "--host", self.url, "--bridge", "none", "--iptables=false"]
        argv += [word for flag, name in places.items() for word in (flag, str(self.folder / name))]
        (self.folder / "pid").unlink(missing_ok=True)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        until(self.answers, 90)

    def answers(self) -> bool:
        import docker

        try:
            return docker.DockerClient(base_url=self.url, timeout=5).ping()
        except Exception:
            return False

    def kill(self) -> None:
        """Kill the daemon and the containerd under it, as when the machine's service dies."""
        containerd = int((self.folder / "exec" / "containerd" / "containerd.pid").read_text())
        assert self.process
        self.process.kill()
        self.process.wait()
        if Path(f"/proc/{containerd}").exists():
            os.kill(containerd, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{containerd}").exists())

    def end(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


@pytest.fixture
def daemon():
    if os.getuid() != 0 or not shutil.which("dockerd"):
        missing("dockerd, and the right to start one", "run as root on a machine with Docker's daemon")
    folder = Path(tempfile.mkdtemp(prefix="edged-"))
    daemon = Daemon(folder)
    daemon.start()
    yield daemon
    daemon.end()
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1].startswith(str(folder))]
    for mount in reversed(mounts):
        subprocess.run(["umount", "-l", mount], check=False)
    print((folder / "log").read_text()[-3000:])
    shutil.rmtree(folder, ignore_errors=True)


def test_an_engine_restart_interrupts_the_run_and_resume_completes_it(daemon, docker_build_image, make_run, home):
    import docker

    from toolkit.docker_engine import BuildImage, DockerEngine, connect

    client = docker.DockerClient(base_url=daemon.url, timeout=120)
    for line in client.api.load_image(connect().api.get_image(docker_build_image), quiet=True):
        assert "error" not in line, line
    engine = DockerEngine(client, build_image=lambda: BuildImage(docker_build_image), mounts={str(home / "cache"): True})
    gate = home / "cache" / "gate"
    run = make_run(second={"wait_for": str(gate)})
    lifecycle.start(engine, run)
    until(lambda: (run.folder / "second.pid").exists())

    daemon.kill()
    assert run.state().status == "running", "an engine that is away makes no run unreadable"
    daemon.start()  # a daemon without live-restore ends the containers it finds
    until(lambda: not lifecycle.is_driven(engine, run))
    assert isinstance(list(lifecycle.attach(engine, run))[-1], ev.RunInterrupted)

    gate.write_text("open")
    lifecycle.resume(engine, run)
    assert isinstance(list(lifecycle.attach(engine, run))[-1], ev.RunFinished)
    assert (run.folder / "worked.txt").read_text().split() == ["first", "second", "third"]
