"""Keys in the order they were typed, however many arrive at once.

Textual hands letters to the field that has the focus, and keys such as Backspace or Tab only once they have come back up
to the app. Over a slow connection keys arrive in batches: `ab<Backspace>c` would be read as `abc<Backspace>`, and what
follows a Tab would land in the field before it: a password in the field for the user.
"""

from __future__ import annotations

import time
from collections import deque
from functools import partial

from textual import events
from textual.app import App
from textual.message_pump import MessagePump

AT_ONCE = frozenset({"ctrl+q"})
"""Leaving waits for nobody."""
LOST_SECONDS = 2.0
"""A key that is not back by then is given up: better a key out of turn than a dead keyboard."""


class KeysInOrder(App[None]):
    """Takes the next key once the one before it has gone all its way: to the widget, and up again to the app."""

    _waiting: deque[events.Key] | None = None
    """Keys behind the one under way; None: none is."""
    _taken_at = 0.0

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Key) or event.is_forwarded or event.key in AT_ONCE:
            await super().on_event(event)
        elif self._waiting is None:
            self._waiting = deque()
            await self._take(event)
        else:
            self._waiting.append(event)
            if time.monotonic() - self._taken_at > LOST_SECONDS:
                await self._next_key()

    async def _take(self, key: events.Key) -> None:
        self._taken_at = time.monotonic()
        target = self.focused or self.screen
        try:
            await super().on_event(key)
        finally:
            self._follow(list(target.ancestors_with_self))

    def _follow(self, way: list[MessagePump]) -> None:
        """Go behind the key through the queue of each widget on its way up; one that is gone is passed over."""
        while way:
            pump, *way = way
            if pump.post_message(events.Callback(callback=partial(self._follow, way) if way else self._next_key)):
                return
        self.call_next(self._next_key)

    async def _next_key(self) -> None:
        if self._waiting:
            await self._take(self._waiting.popleft())
        else:
            self._waiting = None
