"""A connection from afar: an SSH server of one's own on loopback, with keys that exist for one test."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.services.fixtures import free_port
from tests.terminal import Terminal

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""


@dataclass
class SshServer:
    """Lets in whoever runs the test, by a key that lies in the folder."""

    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen | None = None

    def __enter__(self) -> SshServer:
        self.folder.mkdir(mode=0o700)
        for name in ("host_key", "user_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True)
        (self.folder / "sshd_config").write_text(CONFIG.format(port=self.port, folder=self.folder))
        server = shutil.which("sshd") or "/usr/sbin/sshd"  # it wants to be called by its whole path
        with (self.folder / "sshd.log").open("wb") as log:
            self._process = subprocess.Popen([server, "-D", "-e", "-f", str(self.folder / "sshd_config")], stderr=log)
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()

    def connect(self, argv: Sequence[str], environ: Mapping[str, str], size: tuple[int, int] = (80, 24)) -> Terminal:
        """A terminal in which the client runs, and over there the command, with a terminal too."""
        settings = " ".join(f"{key}={shlex.quote(value)}" for key, value in environ.items())
        return Terminal(
            [*self._client(), "-tt", f"cd {shlex.quote(os.getcwd())} && exec env {settings} {shlex.join(argv)}"], os.environ, size
        )

    def _client(self) -> list[str]:
        options = {"UserKnownHostsFile": self.folder / "known_hosts", "StrictHostKeyChecking": "accept-new", "IdentitiesOnly": "yes"}
        named = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        return [
            "ssh",
            "-F",
            "none",
            "-q",
            "-p",
            str(self.port),
            "-i",
            str(self.folder / "user_key"),
            *named,
            f"{getpass.getuser()}@127.0.0.1",
        ]

    def _wait(self) -> None:
        deadline = time.monotonic() + 20
        while subprocess.run([*self._client(), "true"], capture_output=True).returncode:
            assert time.monotonic() < deadline and self._process and self._process.poll() is None, (self.folder / "sshd.log").read_text()
            time.sleep(0.1)
