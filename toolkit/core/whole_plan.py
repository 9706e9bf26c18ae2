"""What publishing would do, all of it, found out beforehand: layers, version and rights. Nothing moves."""

from __future__ import annotations

from dataclasses import dataclass

from toolkit.core.cloud import Right
from toolkit.core.engine import Credentials
from toolkit.core.model_registry import ModelCard, Planned
from toolkit.core.publish_plan import PublishPlan, in_words, make_plan
from toolkit.core.publish_start import PublishWish, make_request
from toolkit.core.rights import needed
from toolkit.core.workbench import Workbench
from toolkit.errors import RightsMissing, VersionTaken


@dataclass(frozen=True)
class WholePlan:
    """What publishing would do."""

    push: PublishPlan | None = None
    """None: nothing is pushed, or it could not be found out."""
    store: str = ""
    model: str = ""
    version: Planned | None = None
    rights: tuple[Right, ...] = ()
    problems: tuple[str, ...] = ()
    """What stands in the way, a line each."""

    @property
    def is_possible(self) -> bool:
        return not self.problems and all(right.is_held is not False for right in self.rights)

    @property
    def sentences(self) -> tuple[str, ...]:
        """For people."""
        told = [in_words(self.push)] if self.push else []
        if self.version and self.version.existing:
            told.append(f"{self.version.existing.id} holds this very content: nothing is uploaded.")
        elif self.version:
            told.append(f"{self.model}:{self.version.version} would be registered in {self.store}.")
        missing = [f"Missing: {right.role} on {right.scope}, to {right.name}." for right in self.rights if right.is_held is False]
        return (*told, *missing, *self.problems)


def make_whole_plan(bench: Workbench, wish: PublishWish, credentials: Credentials | None) -> WholePlan:
    """Ask registry, store and cloud. A version that is taken and a right that is missing are part of the answer.

    Raises:
        PublishError, CloudError, EngineMissing: it cannot be found out.
    """
    options = make_request(bench, wish)["steps"][0]["options"]
    target, store = options["target"], options["store"]
    rights = needed(bench, target, store, wish.username)
    problems, version, push = [], None, None
    if target and all(right.is_held is not False for right in rights):
        push = make_plan(bench, wish.image, target, credentials, wish.via)
    if store:
        card = ModelCard(options["model"], options["version"], options["type"])
        try:
            version = bench.cloud().model_registry(store).plan(card, options["content_sha256"])
        except (VersionTaken, RightsMissing) as exc:
            problems.append(str(exc))
    return WholePlan(push, store, options["model"], version, tuple(rights), tuple(problems))
