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
MOVING = {"up", "down", "left", "right", "pageup", "pagedown", "home", "end", "tab", "shift+tab"}


def key_name(binding: Binding) -> str:
    return binding.key_display or NAMES.get(binding.key, binding.key.replace("ctrl+", "^"))


def is_moving(binding: Binding) -> bool:
    """True for what only moves about: arrows, pages, Tab."""
    return bool(MOVING & {key.strip() for key in binding.key.split(",")})


def is_ours(node: object, binding: Binding) -> bool:
    """False for what the toolkit underneath binds by itself: editing text, scrolling, copying."""
    return "super+" not in binding.key and any(
        binding.action == own.action and binding.description == own.description
        for cls in type(node).__mro__
        if cls.__module__.startswith("toolkit.")
        for own in cls.__dict__.get("BINDINGS", ())
        if isinstance(own, Binding)
    )
