"""Over a real SSH connection: what is long outlives the connection, and whoever comes back sees the whole story."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import desk  # noqa: F401  fixture
from tests.cli.desk import Desk, until
from tests.services.fixtures import missing
from tests.ssh import SshServer
from tests.terminal import Terminal

KEPT = ("EDGE_", "DOCKER_HOST", "XDG_CONFIG_HOME", "PYTHONPATH", "STUB_", "COLORTERM", "PATH")


@pytest.fixture
def server(desk: Desk) -> Iterator[SshServer]:  # noqa: F811
    if not (shutil.which("ssh") and (shutil.which("sshd") or Path("/usr/sbin/sshd").exists())):
        missing("An SSH server", "run tests/services/up.sh as root")
    with SshServer(desk.folder / "ssh") as started:
        yield started


def connected(server: SshServer, desk: Desk, *arguments: str) -> Terminal:  # noqa: F811
    """`edge` on a new connection."""
    environ = {key: value for key, value in desk.environ(EDGE_THEME="dark").items() if key.startswith(KEPT)}
    return server.connect(desk.argv(*arguments), environ)


def edges_of(desk: Desk) -> list[int]:  # noqa: F811
    """Processes of `edge` without a command that work in this desk's home."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _is_edge(path, str(desk.home).encode())]


def _is_edge(process: Path, home: bytes) -> bool:
    try:
        argv = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        return argv[-2:] == [b"-m", b"toolkit"] and b"EDGE_HOME=" + home in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def test_the_run_outlives_the_connection_and_the_next_one_shows_its_whole_story(server: SshServer, desk: Desk) -> None:  # noqa: F811
    run = desk.run_until_it_waits()
    with connected(server, desk) as first:
        first.wait_for("finetune")
        first.press("enter")
        first.wait_for(lambda text: "quantize" in text and "finetune-travel" in text)
        os.kill(first.pid, signal.SIGKILL)
        first.wait_for_end()
    until(lambda: not edges_of(desk))
    assert run.is_locked()
    with connected(server, desk) as second:
        second.wait_for("finetune")
        second.press("enter")
        second.wait_for(lambda text: "quantize" in text and "finetune-travel" in text)
        desk.gate.touch()
        second.wait_for("finished")
        second.press("ctrl+q")
        assert second.wait_for_end() == 0
    assert run.state().status == "finished"
    assert not run.is_locked()


def test_two_front_ends_show_one_run_at_once(server: SshServer, desk: Desk) -> None:  # noqa: F811
    desk.run_until_it_waits()
    with connected(server, desk) as afar, Terminal(desk.argv(), desk.environ(EDGE_THEME="dark"), (120, 40)) as near:
        for terminal in (afar, near):
            terminal.wait_for("finetune")
            terminal.press("enter")
            terminal.wait_for(lambda text: "quantize" in text and "finetune-travel" in text)
        near.press("ctrl+q")
        assert near.wait_for_end() == 0
        desk.gate.touch()
        afar.wait_for("finished")
