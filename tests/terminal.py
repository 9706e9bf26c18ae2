"""A terminal of our own: a program in a real pty, the screen it paints, each byte with its time, keys, size, and hang-up."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pyte

KEYS = {
    "enter": "\r", "escape": "\x1b", "tab": "\t", "space": " ", "backspace": "\x7f",
    "up": "\x1b[A", "down": "\x1b[B", "right": "\x1b[C", "left": "\x1b[D", "pageup": "\x1b[5~", "pagedown": "\x1b[6~",
    "home": "\x1b[H", "end": "\x1b[F",
}  # fmt: skip


def bytes_of(key: str) -> bytes:
    """What a terminal sends for a key, as Textual names it."""
    if key.startswith("ctrl+"):
        return bytes([ord(key[-1].lower()) & 0x1F])
    return KEYS.get(key, key).encode()


class Screen(pyte.Screen):
    """Answers where its cursor stands as a terminal at a distance does; `answer` sends it back."""

    def __init__(self, columns: int, lines: int, answer: Callable[[bytes], None]) -> None:
        super().__init__(columns, lines)
        self._answer = answer

    def write_process_input(self, data: str) -> None:
        self._answer(data.encode())


@dataclass
class Terminal:
    """Starts the program at once. `distance` is the round trip in seconds; None: a terminal that answers no question."""

    argv: Sequence[str]
    environ: Mapping[str, str]
    size: tuple[int, int] = (80, 24)
    distance: float | None = 0.0
    received: list[tuple[float, int]] = field(default_factory=list)
    """When how many bytes came."""

    def __post_init__(self) -> None:
        self.started_at = time.monotonic()
        self._changed = threading.Condition()
        self._screen = Screen(*self.size, self._answer)
        self._stream = pyte.ByteStream(self._screen)
        self.is_closed = False
        self.answers = 0
        """Questions of the program that were answered."""
        self.pid, self._master = _spawn(self.argv, self.environ, self.size)
        self.exit_code: int | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.exit_code is None and not self._has_ended():
            os.kill(self.pid, signal.SIGKILL)
        self.wait_for_end()
        self.hang_up()

    @property
    def text(self) -> str:
        """What a person reads."""
        with self._changed:
            return "\n".join(line.rstrip() for line in self._screen.display)

    def colours(self) -> set[str]:
        """Every ink and paper on the screen: `default`, a name of the sixteen, or six digits."""
        return {colour for cell in self.cells() for colour in (cell.fg, cell.bg)}

    def cells(self, wearing: str = "") -> list:
        """The screen's characters, all or those with an attribute such as `reverse`."""
        with self._changed:
            every = [self._screen.buffer[line][column] for line in range(self._screen.lines) for column in range(self._screen.columns)]
        return [cell for cell in every if not wearing or getattr(cell, wearing)]

    def wait_for(self, wanted: str | Callable[[str], object], seconds: float = 30) -> float:
        """Wait until the screen shows this; returns when the bytes that brought it came in."""
        shows = (lambda text: wanted in text) if isinstance(wanted, str) else wanted
        deadline = time.monotonic() + seconds
        with self._changed:  # of a lock that its owner may take again
            while not shows("\n".join(line.rstrip() for line in self._screen.display)):
                left = deadline - time.monotonic()
                assert left > 0, f"it was not shown: {wanted!r}; the screen:\n" + "\n".join(self._screen.display)
                assert not self.is_closed, f"the program ended before it showed {wanted!r}; the screen:\n" + "\n".join(self._screen.display)
                self._changed.wait(left)
            return self.received[-1][0] if self.received else self.started_at

    def press(self, *keys: str) -> float:
        """Send keys; returns when."""
        at = time.monotonic()
        for key in keys:
            os.write(self._master, bytes_of(key))
        return at

    def paste(self, text: str) -> None:
        os.write(self._master, b"\x1b[200~" + text.encode() + b"\x1b[201~")

    def resize(self, columns: int, lines: int) -> None:
        """The kernel tells the program, as it does when a window is dragged."""
        with self._changed:
            self._screen.resize(lines, columns)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def hang_up(self) -> None:
        """The terminal goes away, as when a connection drops."""
        if self._master >= 0:
            master, self._master = self._master, -1
            self._reader.join(5)
            os.close(master)

    def wait_for_end(self, seconds: float = 30) -> int:
        """Wait until the program has ended; its exit code."""
        deadline = time.monotonic() + seconds
        while not self._has_ended():
            assert time.monotonic() < deadline, f"the program did not end; the screen:\n{self.text}"
            time.sleep(0.002)
        assert self.exit_code is not None
        return self.exit_code

    def wait_for_answers(self, count: int) -> None:
        """Wait until the program has asked, and was told, so many times."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.answers >= count, 30), f"it asked {self.answers} times"

    def wait_until_stopped(self) -> None:
        """Wait until the program sleeps, as after Ctrl-Z."""
        os.waitpid(self.pid, os.WUNTRACED)

    def bytes_since(self, began: float, until: float | None = None) -> int:
        return sum(count for at, count in list(self.received) if began <= at < (until or float("inf")))

    def _has_ended(self) -> bool:
        if self.exit_code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit_code = os.waitstatus_to_exitcode(status)
        return self.exit_code is not None

    def _read(self) -> None:
        while self._master >= 0:
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:
                data = b""
            at = time.monotonic()
            with self._changed:
                if not data:
                    self.is_closed = True
                else:
                    self.received.append((at, len(data)))
                    self._stream.feed(data)
                self._changed.notify_all()
            if not data:
                return

    def _answer(self, data: bytes) -> None:
        if self.distance is not None:
            threading.Timer(self.distance, self._send, (data,)).start()

    def _send(self, data: bytes) -> None:
        if self._master >= 0:
            os.write(self._master, data)
            with self._changed:
                self.answers += 1
                self._changed.notify_all()


def _spawn(argv: Sequence[str], environ: Mapping[str, str], size: tuple[int, int]) -> tuple[int, int]:
    """A child whose controlling terminal has that size from the first moment on."""
    pid, master = pty.fork()
    if pid:
        return pid, master
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.execvpe(argv[0], list(argv), dict(environ))
