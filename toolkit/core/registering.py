"""A model into a store of models: the version looked at first, then only what the store lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job


def register(job: Job) -> dict[str, float]:
    raise NotImplementedError
