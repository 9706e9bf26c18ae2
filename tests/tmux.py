"""A terminal as a person has it: tmux, which answers, keeps its own screen, and can be asked about its state."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

STATES = "cursor_flag", "alternate_on", "mouse_any_flag", "mouse_sgr_flag"


@dataclass(frozen=True)
class Tmux:
    """One session with a shell in it, on a server of its own."""

    folder: Path
    environ: Mapping[str, str]
    columns: int = 80
    lines: int = 24

    def __enter__(self) -> Tmux:
        shell = "env PS1='ready> ' sh"
        self.ask("-f", "/dev/null", "new-session", "-d", "-x", str(self.columns), "-y", str(self.lines), shell)
        self.wait_for("ready>")
        return self

    def __exit__(self, *_: object) -> None:
        self.ask("kill-server")

    def ask(self, *arguments: str) -> str:
        command = ["tmux", "-S", str(self.folder / "tmux.sock"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=dict(self.environ), check=True, timeout=30).stdout

    @property
    def text(self) -> str:
        return self.ask("capture-pane", "-p")

    def state(self) -> dict[str, str]:
        """What of a terminal's modes is on."""
        told = self.ask("display-message", "-p", " ".join(f"#{{{name}}}" for name in STATES)).split()
        return dict(zip(STATES, told, strict=True))

    def type(self, text: str) -> None:
        self.ask("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Keys as tmux names them: `Enter`, `C-q`."""
        self.ask("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        self.ask("resize-window", "-x", str(columns), "-y", str(lines))

    def wait_for(self, wanted: str | Callable[[str], object], seconds: float = 30) -> None:
        shows = (lambda text: wanted in text) if isinstance(wanted, str) else wanted
        deadline = time.monotonic() + seconds
        while not shows(self.text):
            assert time.monotonic() < deadline, f"it was not shown: {wanted!r}; the screen:\n{self.text}"
            time.sleep(0.05)
