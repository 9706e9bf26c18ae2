"""(being written)"""

from __future__ import annotations

from toolkit.tui.screens.base import EdgeScreen


class NewRunScreen(EdgeScreen):
    place = "new"
