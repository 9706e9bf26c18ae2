"""Keys as they are written for people: as on the key caps, in letters that every terminal has."""

from __future__ import annotations

from textual.binding import Binding

NAMES = {
    "question_mark": "?",
    "slash": "/",
    "enter": "Enter",
    "escape": "Esc",
    "space": "Space",
    "tab": "Tab",
    "shift+tab": "Shift-Tab",
    "backspace": "Backspace",
    "delete": "Del",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "home": "Home",
    "end": "End",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "left_square_bracket": "[",
    "right_square_bracket": "]",
    "plus": "+",
    "minus": "-",
    "full_stop": ".",
    "comma": ",",
    "exclamation_mark": "!",
}


def key_name(binding: Binding) -> str:
    return binding.key_display or NAMES.get(binding.key, binding.key.replace("ctrl+", "^"))
