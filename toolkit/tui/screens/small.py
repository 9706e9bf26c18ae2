"""What is shown while the window is too small to show anything else."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widgets import Static

SMALLEST = Size(60, 16)
COMFORTABLE = Size(80, 24)


def is_too_small(size: Size) -> bool:
    return size.width < SMALLEST.width or size.height < SMALLEST.height


class TooSmall(ModalScreen[None]):
    """Says how large the window is and should be; goes by itself when it is."""

    def __init__(self, window: Size) -> None:
        super().__init__()
        self._window = window

    def compose(self) -> ComposeResult:
        yield Static(_said(self._window), markup=False)

    def tell(self, window: Size) -> None:
        self.query_one(Static).update(_said(window))


def _said(window: Size) -> str:
    wanted = f"{COMFORTABLE.width}x{COMFORTABLE.height}"
    return f"This window is {window.width}x{window.height}.\nMake it {wanted} or larger.\nctrl+q: quit"
