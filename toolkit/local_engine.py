"""The embedded default: the build program as a detached process in its own environment, the server as a plain process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from toolkit.core import process
from toolkit.core.engine import KEY_FILE, Exit, Server
from toolkit.core.run import Run
from toolkit.errors import EngineMissing, ToolkitError
from toolkit.settings import Settings

REAP_SECONDS = 2.0
"""From the death of a process until the last of its threads is gone."""
OOM_KILLS = "oom-kills"
"""File beside a server's socket: how many processes the machine had killed for memory before it started."""


class HostDriver:
    """Drives a run by `edge drive` in a session of its own: packaging and publishing, and local builds."""

    name = "host"

    def __init__(self, settings: Settings, secrets: bytes = b"") -> None:
        self.settings = settings
        self._secrets = secrets

    def start(self, run: Run, lock: int) -> None:
        argv = [sys.executable, "-m", "toolkit.drive", str(run.folder)]
        environ = {**os.environ, **settings_environ(self.settings), process.LOCK_VARIABLE: str(lock)}
        environ.pop("EDGE_REGISTRY_PASSWORD", None)  # secrets go through the pipe only
        pid = process.start_detached(argv, run.folder / "driver.log", environ, keep=[lock], stdin=self._secrets)
        process.remember(_pid_file(run), pid)

    def is_alive(self, run: Run) -> bool:
        return process.recall(_pid_file(run)) is not None

    def exit_of(self, run: Run) -> Exit | None:
        """A driver of this machine writes its own ending; where it did not, nothing is known."""
        return None

    def stop(self, run: Run, grace_seconds: float = 10) -> None:
        pid = process.recall(_pid_file(run))
        if pid is not None:
            process.end(pid, grace_seconds)
        _wait_until_unlocked(run, grace_seconds)

    def forget(self, run: Run) -> None:
        _pid_file(run).unlink(missing_ok=True)


class LocalEngine(HostDriver):
    """Builds in the local build environment, and serves models from it."""

    name = "local"

    def start(self, run: Run, lock: int) -> None:
        self._need_environment()
        super().start(run, lock)

    def serve(self, target: str, folder: Path, memory_mb: int = 0, cpus: float = 0, port: int = 0) -> Server:
        """Serve the packaged folder `target` (with model/, adapters/ and device.json) by a plain process."""
        self._need_environment()
        socket = folder / "chat.sock"
        content = Path(target)
        argv = [str(self.settings.build_python), str(self.settings.containers / "runtime" / "serve.py")]
        argv += ["--model", str(content / "model"), "--adapters", str(content / "adapters")]
        argv += ["--host", "127.0.0.1", "--port", str(port)] if port else ["--uds", str(socket)]
        environ = {
            **{name: value for name, value in os.environ.items() if name not in ("EDGE_API_KEY", "EDGE_API_KEY_FILE")},
            "EDGE_DEVICE_FILE": str(content / "device.json"),
            "EDGE_LIFELINE": "stdin",  # a chat that is killed takes its server with it
            "EDGE_ACCESS_LOG": "0",  # its last words are to say why it ended
            "OMP_WAIT_POLICY": "PASSIVE",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if (folder / KEY_FILE).exists():
            environ["EDGE_API_KEY_FILE"] = str(folder / KEY_FILE)
        with open(folder / "server.log", "ab") as log:
            server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environ, start_new_session=True)
        process.remember(folder / "server.json", server.pid)
        (folder / OOM_KILLS).write_text(str(process.oom_kills()))
        return Server(socket, str(server.pid), port, server)

    def is_serving(self, server: Server) -> bool:
        return process.recall(server.socket.parent / "server.json") is not None

    def ended(self, server: Server) -> Exit | None:
        """No limit is set on a local server, so only the machine itself can have run out of memory."""
        if self.is_serving(server):
            return None
        assert isinstance(server.lifeline, subprocess.Popen)
        try:
            code = server.lifeline.wait(timeout=REAP_SECONDS)
        except subprocess.TimeoutExpired:
            return None  # its threads are still ending
        if code != -signal.SIGKILL:
            return Exit(code)
        return Exit(code, _machine_ran_out_since(server.socket.parent), "it was killed")

    def last_words(self, server: Server) -> str:
        try:
            return (server.socket.parent / "server.log").read_text("utf-8", "replace")[-2000:]
        except OSError:
            return ""

    def end(self, server: Server) -> None:
        pid = process.recall(server.socket.parent / "server.json")
        if pid is not None:
            process.end(pid, 5)

    def _need_environment(self) -> None:
        if not self.settings.build_python.exists():
            raise EngineMissing(
                f"The local build environment is not installed ({self.settings.build_python} is missing).",
                f"Make it with `make build-env{_made_for(self.settings.build_python)}`, or set EDGE_BUILD_PYTHON, or use `--engine docker`.",
            )


def settings_environ(settings: Settings) -> dict[str, str]:
    """The settings as environment variables, so that a driver sees what its starter saw."""
    chosen = {
        "EDGE_HOME": str(settings.home),
        "EDGE_ENGINE": settings.engine,
        "EDGE_BUILD_PYTHON": str(settings.build_python),
        "EDGE_CONTAINERS": str(settings.containers),
    }
    optional = {"EDGE_BUILD_IMAGE": settings.build_image, "EDGE_BASE_IMAGE": settings.base_image}
    return {**chosen, **{key: value for key, value in optional.items() if value}}


def _made_for(python: Path) -> str:
    """The argument of `make build-env` that makes this environment."""
    flavour = python.parent.parent.name.removeprefix(".venv-build").removeprefix("-")
    return f" FLAVOUR={flavour}" if flavour.startswith("cuda") else ""


def _machine_ran_out_since(folder: Path) -> bool:
    """True where this machine has killed for memory since the server in `folder` was started."""
    try:
        return process.oom_kills() > int((folder / OOM_KILLS).read_text())
    except (OSError, ValueError):
        return False


def _pid_file(run: Run) -> Path:
    return run.folder / "driver.json"


def _wait_until_unlocked(run: Run, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while run.is_locked():
        if time.monotonic() > deadline:
            raise ToolkitError(f"Run {run.id} did not stop within {seconds:.0f} s.", "Look at its processes with `ps`, then try again.")
        time.sleep(0.05)
