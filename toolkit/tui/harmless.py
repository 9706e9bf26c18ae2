"""Text that others wrote, made safe to draw: no terminal codes, no letters that turn the line around."""

from __future__ import annotations

_TURNING = (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)
"""Marks, embeddings, overrides and isolates that change the direction of what follows."""
_UNSEEN = (*range(0x20), *range(0x7F, 0xA0), 0x00AD, 0x200B, 0x2060, 0xFEFF, *range(0xE0000, 0xE0080))
"""Controls of terminals, and characters without looks that hide in a word."""
_BREAKS = (0x0B, 0x0C, 0x85, 0x2028, 0x2029)
"""What some take for the end of a line."""
_TABLE: dict[int, str] = {
    **dict.fromkeys(_UNSEEN, ""),
    **dict.fromkeys(_BREAKS, "\n"),
    **{code: f"<U+{code:04X}>" for code in _TURNING},
    0x09: "    ",
    0x0A: "\n",
}


def harmless(text: str) -> str:
    """The text without controls; marks that turn the direction of writing are spelled out, letters of every script stay."""
    return text.translate(_TABLE)


def harmless_line(text: str) -> str:
    """The same on one line."""
    return " ".join(harmless(text).split())
