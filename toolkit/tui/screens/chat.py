"""(being written)"""

from __future__ import annotations

from toolkit.tui.screens.base import EdgeScreen


class ChatScreen(EdgeScreen):
    place = "chat"
