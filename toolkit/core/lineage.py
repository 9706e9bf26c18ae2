"""What a published model came from, and the links between a version of a model and the images that carry it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job


def link(job: Job) -> dict[str, float]:
    raise NotImplementedError
