"""What a model's activations are measured on: an adapter's own rows, general text, or both in turn."""

from __future__ import annotations

import json

from toolkit.core.rows import Row


def mixed(own: list[Row], general: list[Row], share: float) -> list[Row]:
    """`own` and `general` in turn, so that every beginning holds about that share of text from `own`; ends where either would be lacking.

    Without general rows it is `own`, whatever the share.
    """
    if not general:
        return own
    if share in (0, 1):
        return own if share else general
    taken: list[Row] = []
    waiting, lengths = {True: list(reversed(own)), False: list(reversed(general))}, {True: 0.0, False: 0.0}
    while True:
        is_own = lengths[True] * (1 - share) <= lengths[False] * share
        if not waiting[is_own]:
            return taken
        row = waiting[is_own].pop()
        lengths[is_own] += len(json.dumps(row, ensure_ascii=False))
        taken.append(row)
