"""Boxes to tick and one-of-many choices, whose state is a sign and not only a colour."""

from __future__ import annotations

from textual.widgets import Checkbox, RadioButton


class Tick(Checkbox):
    """`[x] on`, `[ ] off`."""

    BUTTON_LEFT = BUTTON_RIGHT = ""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override]  # Textual reads a class attribute that does not know the state
        return "[x]" if self.value else "[ ]"


class Choice(RadioButton):
    """`(•) chosen`, `( ) not`; inside a RadioSet."""

    BUTTON_LEFT = BUTTON_RIGHT = ""

    @property
    def BUTTON_INNER(self) -> str:  # type: ignore[override]
        return "(•)" if self.value else "( )"
