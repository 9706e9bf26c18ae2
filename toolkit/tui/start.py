"""Open the terminal UI, and leave it at once when asked, whatever still runs in the background."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import signal
import sys
import termios
import threading
import traceback

from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError
from toolkit.tui.app import EdgeApp
from toolkit.tui.pace import Pace

NOTHING_SPECIAL = "\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1004l\x1b[?2004l\x1b[<u\x1b[?7h\x1b[?1049l\x1b[?25h"
"""No mouse, no pasting in brackets, the first screen, a cursor: what a shell expects of its terminal."""

SWITCH_SECONDS = 0.001
"""How long a thread that reads and looks round may keep the one that paints waiting; Python's own is five times that."""

STARTED_SECONDS = 1.0
"""After which the first screen is surely there."""


def run_app(bench: Workbench, pace: Pace | None = None) -> None:
    """Run the UI until the person leaves; ends the process.

    Threads that wait for an engine or a network would hold a normal exit up for seconds. Nothing they do needs an
    orderly end: runs are driven by processes of their own, and a chat's server ends when its connection goes.
    """
    _refuse_what_cannot_be_drawn_on()
    _leave_at_once_when_told()
    sys.setswitchinterval(SWITCH_SECONDS)
    code = 1
    try:
        code = _until_left(EdgeApp(bench, pace))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _until_left(app: EdgeApp) -> int:
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    gc.disable()
    loop.call_later(STARTED_SECONDS, _keep_what_the_start_left)
    loop.run_until_complete(app.run_async())
    return app.return_code or 0


def _keep_what_the_start_left() -> None:
    """Modules, classes and looks stay for good: searching them for garbage would stop the screen for 70 ms again and again."""
    gc.freeze()
    gc.enable()


def _refuse_what_cannot_be_drawn_on() -> None:
    if os.environ.get("TERM", "dumb") in ("", "dumb", "unknown"):
        raise ToolkitError(
            f"This terminal (TERM={os.environ.get('TERM', '')}) cannot show the terminal UI.",
            "Set TERM to what it is, such as `TERM=xterm-256color edge`, or use the commands: `edge --help`.",
        )


def _leave_at_once_when_told() -> None:
    """A signal to end, or a terminal that is gone, ends the process here and now; the terminal is given back as it was."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def leave(number: int, _frame: object) -> None:
        _give_back(terminal, before)
        os._exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    threading.Thread(target=_leave_with_the_terminal, args=(terminal,), daemon=True, name="hang-up").start()


def _leave_with_the_terminal(terminal: int) -> None:
    """No signal comes where `nohup` ignores it or nobody is there to send it; a read would then end at once, for ever."""
    gone = select.poll()
    gone.register(terminal, 0)  # hang-up and errors are always told
    while not any(told & (select.POLLHUP | select.POLLERR | select.POLLNVAL) for _, told in gone.poll()):
        pass
    os._exit(128 + signal.SIGHUP)


def _give_back(terminal: int, before: list) -> None:
    """To a terminal that may be gone or take nothing more: never waits."""
    try:
        os.set_blocking(terminal, False)
        os.write(terminal, NOTHING_SPECIAL.encode())
        os.set_blocking(terminal, True)
        termios.tcsetattr(terminal, termios.TCSANOW, before)
    except (OSError, termios.error):
        return
