"""The real terminal: Textual's driver, which also times the terminal's answers and leaves without waiting for anyone."""

from __future__ import annotations

import codecs
import os
import threading

from rich.cells import cell_len
from textual import events
from textual.drivers.linux_driver import LinuxDriver
from textual.message import Message

from toolkit.tui.connection import RoundTrip
from toolkit.tui.messages import ConnectionMeasured

GOODBYE_SECONDS = 0.1
"""What screens get to take their leave in, once the terminal is given back."""
STAND_INS = str.maketrans("─│┌┐└┘├┤┬┴┼█▀▄▌▐░▒▓■•←↑→↓►◄▲▼…·×–—", "-|+++++++++#####.:##*<^>v><^v.*x--")
"""For terminals that are not in UTF-8: each as wide as what it stands for."""
MOUSE_MOVES_ON, MOUSE_MOVES_OFF = "\x1b[?1003h", "\x1b[?1003l\x1b[?1000h"
"""Off: clicks and the wheel still count, but moving the mouse neither sends nor repaints."""


class EdgeDriver(LinuxDriver):
    """Asks for the round trip whenever it takes the terminal: at the start, and after Ctrl-Z and `fg`."""

    def __init__(self, *arguments, **named) -> None:
        super().__init__(*arguments, **named)
        self._app.terminal = self
        self._is_suspending = False
        self._round_trip = RoundTrip(self.write, lambda seconds: self.send_message(ConnectionMeasured(seconds)))
        _draw_what_the_terminal_can(self._file)

    def start_application_mode(self) -> None:
        super().start_application_mode()
        if self.input_tty and self._app.measures_connection:
            self._round_trip.begin()

    def process_message(self, message: Message) -> None:
        """In the thread that reads: a busy screen makes no round trip look longer."""
        if isinstance(message, events.CursorPosition) and self._round_trip.heard(message.y + 1, message.x + 1):
            return
        super().process_message(message)

    def spare(self, is_slow: bool) -> None:
        """Report each move of the mouse, or only what it presses."""
        if self._mouse:
            self.write(MOUSE_MOVES_OFF if is_slow else MOUSE_MOVES_ON)

    def suspend_application_mode(self) -> None:
        self._is_suspending = True
        super().suspend_application_mode()
        self._is_suspending = False

    def stop_application_mode(self) -> None:
        if not self._is_suspending:
            self._end_soon()
        super().stop_application_mode()
        if os.environ.get("TERM", "").startswith("linux"):
            self.write("\x1b[H\x1b[J")  # it has no second screen to leave
        self.close()

    def disable_input(self) -> None:
        """Leaving, do not wait until the thread that reads has noticed; it ends with the process."""
        if self._is_suspending:
            super().disable_input()
            return
        self._disable_mouse_support()
        self.exit_event.set()

    def _end_soon(self) -> None:
        """End the process even if a screen, or a terminal that takes nothing more, holds up the orderly way out."""
        if self._app.return_code:
            return  # an error that is still to be told
        timer = threading.Timer(GOODBYE_SECONDS, os._exit, (0,))
        timer.daemon = True
        timer.start()

    def _query_in_band_window_resize(self) -> None:
        """Not asked: it brings mouse reports by the pixel, far too many for a thin line."""


def _draw_what_the_terminal_can(file) -> None:
    """In a locale that is not UTF-8, lines and blocks become their nearest in ASCII. `C` says nothing, and means UTF-8 today."""
    codecs.register_error("edge-stand-ins", _stand_in)
    file.reconfigure(errors="edge-stand-ins")


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    text = error.object[error.start : error.end].translate(STAND_INS)
    return "".join(char if char.isascii() else "?" * cell_len(char) for char in text), error.end
