"""Two themes of our own, and the terminal's sixteen colours where it has no more."""

from __future__ import annotations

import os
from collections.abc import Mapping

from textual.theme import Theme

DARK = Theme(
    name="edge-dark",
    primary="#6cb6ff",
    secondary="#8ddb8c",
    accent="#f0b72f",
    foreground="#d6dde6",
    background="#0f141a",
    surface="#151b23",
    panel="#1f2730",
    success="#6bc46d",
    warning="#e0a72e",
    error="#ff7b72",
    dark=True,
)
LIGHT = Theme(
    name="edge-light",
    primary="#0b62c4",
    secondary="#1a7f37",
    accent="#8a5a00",
    foreground="#1f2328",
    background="#ffffff",
    surface="#f4f6f8",
    panel="#e4e9ee",
    success="#1a7f37",
    warning="#8a5a00",
    error="#c1121f",
    dark=False,
)
THEMES = (DARK, LIGHT)
SIXTEEN = {"dark": "ansi-dark", "light": "ansi-light"}


def first_theme(wanted: str, environ: Mapping[str, str] = os.environ) -> str:
    """The theme to open with: as chosen, else as the terminal says its background is, else dark."""
    shade = wanted or ("light" if _has_light_background(environ) else "dark")
    return SIXTEEN[shade] if has_few_colours(environ) else f"edge-{shade}"


def other_theme(theme: str) -> str:
    """The same in the other shade."""
    family, _, shade = theme.rpartition("-")
    return f"{family}-{'light' if shade == 'dark' else 'dark'}"


def has_few_colours(environ: Mapping[str, str] = os.environ) -> bool:
    """True where the terminal says it has no more than sixteen colours, as the Linux console does."""
    if environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return False
    term = environ.get("TERM", "")
    return "256color" not in term and "direct" not in term and term not in ("xterm-kitty", "alacritty", "wezterm", "foot", "xterm-ghostty")


def _has_light_background(environ: Mapping[str, str]) -> bool:
    """By COLORFGBG, which rxvt, Konsole and others set: `foreground;background` as colour numbers."""
    background = environ.get("COLORFGBG", "").rpartition(";")[2]
    return background in ("7", "15")
