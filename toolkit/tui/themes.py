"""Dark and light, in true colour and in the terminal's own sixteen colours where it has no more."""

from __future__ import annotations

import os
from collections.abc import Mapping

from textual.theme import Theme


def _bars(thumb: str, track: str, held: str) -> dict[str, str]:
    """Variables of a theme: how scrollbars look, at rest and held."""
    states = ("", "-hover", "-active")
    tracks = {f"scrollbar-background{state}": track for state in states}
    return {"scrollbar": thumb, "scrollbar-hover": held, "scrollbar-active": held, "scrollbar-corner-color": track, **tracks}


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
    variables={
        "line": "#3f4852",
        "field": "#1f2730",
        "bar": "#1f2730",
        **_bars("#515964", "#151b23", "#6cb6ff"),
        "block-cursor-blurred-background": "#2a3542",
        "block-cursor-blurred-foreground": "#d6dde6",
        "input-selection-background": "#2d4f76",
        "screen-selection-background": "#2d4f76",
    },
)
LIGHT = Theme(
    name="edge-light",
    primary="#0b62c4",
    secondary="#116329",
    accent="#7a4f00",
    foreground="#1f2328",
    background="#ffffff",
    surface="#f4f6f8",
    panel="#e4e9ee",
    success="#116329",
    warning="#7a4f00",
    error="#c1121f",
    dark=False,
    variables={
        "line": "#aab4bf",
        "field": "#e9edf1",
        "bar": "#e4e9ee",
        **_bars("#8d98a4", "#e9edf1", "#0b62c4"),
        "block-cursor-blurred-background": "#d3dbe4",
        "block-cursor-blurred-foreground": "#1f2328",
        "input-selection-background": "#b9d7f5",
        "screen-selection-background": "#b9d7f5",
    },
)


def _sixteen(shade: str, ink: str, paper: str, blue: str) -> Theme:
    """The terminal's own colours: its background and foreground, and the eight that every palette keeps legible on them."""
    return Theme(
        name=f"edge-16-{shade}",
        ansi=True,
        primary=blue,
        secondary="ansi_cyan",
        accent="ansi_magenta",
        foreground="ansi_default",
        background="ansi_default",
        surface="ansi_default",
        panel="ansi_default",
        boost="ansi_default",
        success="ansi_green",
        warning="ansi_yellow",
        error="ansi_red",
        dark=shade == "dark",
        variables={
            "line": "ansi_default",
            "field": "ansi_default",
            "bar": "ansi_default",
            **_bars(blue, "ansi_default", blue),
            "ansi-background": paper,
            "ansi-foreground": ink,
            "text-muted": "ansi_default",
            "text-disabled": "ansi_default",
            "border": blue,
            "border-blurred": "ansi_default",
            "panel-lighten-2": "ansi_default",
            "block-cursor-foreground": paper,
            "block-cursor-background": ink,
            "block-cursor-blurred-background": "ansi_default",
            "block-cursor-blurred-foreground": "ansi_default",
            "block-cursor-blurred-text-style": "underline",
            "footer-key-foreground": blue,
            "input-cursor-foreground": paper,
            "input-cursor-background": ink,
            "input-selection-foreground": paper,
            "input-selection-background": ink,
            "screen-selection-foreground": paper,
            "screen-selection-background": ink,
        },
    )


DARK_16 = _sixteen("dark", ink="ansi_white", paper="ansi_black", blue="ansi_bright_blue")
LIGHT_16 = _sixteen("light", ink="ansi_black", paper="ansi_white", blue="ansi_blue")
THEMES = (DARK, LIGHT, DARK_16, LIGHT_16)


def first_theme(wanted: str, environ: Mapping[str, str] = os.environ, is_colourless: bool = False) -> str:
    """The theme to open with: as chosen, else as the terminal says its background is, else dark.

    Without colours (`NO_COLOR`) it is one that leaves the terminal's own ink and paper alone.
    """
    shade = wanted or ("light" if _has_light_background(environ) else "dark")
    return f"edge-16-{shade}" if is_colourless or has_few_colours(environ) else f"edge-{shade}"


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
