"""Whether we may do what publishing will do, found out before any byte moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job


def check(job: Job) -> dict[str, float]:
    raise NotImplementedError
