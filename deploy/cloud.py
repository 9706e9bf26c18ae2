"""Azure as our cloud: the parts that this folder's other modules are, in one object."""

from __future__ import annotations

from toolkit.settings import Settings


class Azure:
    """Answers `toolkit.core.cloud.Cloud`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
