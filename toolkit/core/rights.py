"""Whether we may do what publishing will do, found out before any byte moves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from toolkit.core import reference, registering
from toolkit.core.cloud import Right, is_cloud_registry, parse_workspace
from toolkit.core.files import write_json
from toolkit.core.workbench import Workbench
from toolkit.errors import RightsMissing

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job

HELD_FILE = "rights.json"
"""In the run's folder, where all rights were held: whose, when, and for which places."""
LATELY_SECONDS = 600
"""So long they are not asked for again: registry and store refuse by themselves what was taken away meanwhile."""


def needed(bench: Workbench, target: str, store: str, username: str = "") -> list[Right]:
    """Every right that it takes to push to `target` and to register in `store`; either may be empty. A user with a password needs none to push.

    Raises:
        CloudError: it cannot be found out.
    """
    parsed = reference.parse(target) if target else None
    asks_registry = parsed is not None and is_cloud_registry(parsed.host) and not username
    workspace = parse_workspace(store) if store and "://" not in store else None
    if not (workspace or asks_registry):
        return []
    host, repository = (parsed.host, parsed.repository) if parsed and asks_registry else ("", "")
    return bench.cloud().rights(workspace, host, repository)


def check(job: Job) -> dict[str, float]:
    """A step: every missing right is told at once, with the role to ask for; then whether the version can be had."""
    account = job.bench.cloud().account()
    job.log(f"Signed in as {account.who} ({account.kind}), tenant {account.tenant}, by {account.source}.")
    before = _held_lately(job, account.who)
    found = [] if before else needed(job.bench, job.options["target"], job.options["store"], job.options.get("username", ""))
    if before:
        job.log(f"All rights were held in {before}, minutes ago.")
    for right in found:
        job.log(in_words(right))
    if missing := [right for right in found if right.is_held is False]:
        raise lacking(missing, account.who)
    if job.options["store"]:  # a version that is taken, too, is better known before an image moves
        planned = registering.look(job.bench, job.options)
        job.log(f"{job.options['model']}:{planned.version} {'holds this content already' if planned.existing else 'is free'}.")
    if found and all(right.is_held for right in found):
        write_json(job.run.folder / HELD_FILE, {"who": account.who, "at": job.bench.clock(), "for": _places(job.options)})
    return {"rights_held": sum(right.is_held is True for right in found), "rights_unknown": sum(right.is_held is None for right in found)}


def _held_lately(job: Job, who: str) -> str:
    """The run that saw all rights held a short while ago, for this account and these places; empty: none. Who moves nothing asks little."""
    for run in reversed(job.bench.runs()):
        with suppress(OSError, ValueError, LookupError, TypeError):
            held = json.loads((run.folder / HELD_FILE).read_text("utf-8"))
            age = job.bench.clock() - held["at"]
            if 0 <= age < LATELY_SECONDS and held["who"] == who and held["for"] == _places(job.options):
                return run.id
    return ""


def _places(options: Mapping) -> list[str]:
    parsed = reference.parse(options["target"]) if options["target"] else None
    return [f"{parsed.host}/{parsed.repository}" if parsed else "", options["store"]]


def in_words(right: Right) -> str:
    state = {True: "held", False: "missing", None: "not known"}[right.is_held]
    return f"{right.name}, {right.scope} ({right.role}): {state}{f': {right.why}' if right.why else ''}"


def lacking(missing: Sequence[Right], who: str = "") -> RightsMissing:
    """The error that names all of them."""
    told = "; ".join(f"{right.name} ({right.scope}{f': {right.why}' if right.why else ''})" for right in missing)
    roles = "; ".join(f"{right.role} on the {right.scope}" for right in missing)
    return RightsMissing(f"{who or 'This account'} may not {told}.", f"Ask an owner for: {roles}. New roles take some minutes to hold.")
