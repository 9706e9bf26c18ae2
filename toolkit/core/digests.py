"""From a digest, or a model's address, to the runs that it came from or went through."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from toolkit.core.lineage import REGISTERED_FILE
from toolkit.core.run import Run
from toolkit.core.workbench import Workbench
from toolkit.errors import RunError, RunMissing

_DIGEST = re.compile(r"^(?:(?:.*@)?sha256:)?(?P<digest>[0-9a-f]{12,64})$")
_MODEL = re.compile(r"^(?:azureml:)?(?P<name>[^:/]+):(?P<version>[^:/]+)$")
SAID = {
    "layout": "manifest of the image",
    "image": "id of the image",
    "release": "image in the registry",
    "registered": "registered model",
    "link": "link beside the image",
    "archive": "exported file",
}
"""What artifacts of each kind are to people; others go by kind and path."""


@dataclass(frozen=True)
class Trace:
    """A run, and what it has to do with what was looked for."""

    run: Run
    what: str
    made: bool = True
    """It made the thing; False: it took it from elsewhere, to push or register it."""


def is_digest(text: str) -> bool:
    """`sha256:...`, `HOST/REPOSITORY@sha256:...`, a digest by itself or its first twelve digits, NAME:VERSION or the address of a model."""
    return bool(_DIGEST.match(text) or _MODEL.match(text)) or text.startswith("azureml:")


def traces_of(bench: Workbench, text: str) -> list[Trace]:
    """Every run that has to do with it, the one that made it first.

    Raises:
        RunMissing: none of this home has.
    """
    found = [trace for run in bench.runs() for trace in _traces(run, text)]
    if not found:
        raise RunMissing(f"No run of this home knows {text}.", "`edge models --image DIGEST` asks the store; EDGE_HOME names another home.")
    return sorted(found, key=lambda trace: not trace.made)


def _traces(run: Run, text: str) -> Iterator[Trace]:
    """At most one of a run that can be read."""
    with suppress(RunError, OSError, LookupError, TypeError):
        wanted = _DIGEST.match(text)
        what = _of_digest(run, wanted["digest"]) if wanted else _of_model(run, text)
        if what:
            yield Trace(run, *what)


def _of_digest(run: Run, digest: str) -> tuple[str, bool] | None:
    for artifact in run.state().artifacts:
        if artifact.sha256.startswith(digest):
            own = run.kind != "publish" or artifact.kind == "link"
            return SAID.get(artifact.kind, f"{artifact.kind} {artifact.path}"), own
    options = run.request["steps"][0]["options"] if run.kind == "publish" else {}
    for key, what in (("image_id", "id of the image"), ("content_sha256", "content of the model")):
        if options.get(key, "").removeprefix("sha256:").startswith(digest) and options.get(key):
            return what, False
    return None


def _of_model(run: Run, text: str) -> tuple[str, bool] | None:
    if run.kind != "publish":
        return None
    with suppress(OSError, ValueError):
        told = json.loads((run.folder / REGISTERED_FILE).read_text("utf-8"))
        named = _MODEL.match(text)
        is_it = text in (told["id"], told["path"]) or (named and (told["name"], told["version"]) == (named["name"], named["version"]))
        return (SAID["registered"], True) if is_it else None
    return None


def sources_of(bench: Workbench, run: Run) -> list[Run]:
    """The run, and those before it that it stands on: what it published, packaged, built."""
    chain = [run]
    with suppress(RunError, LookupError, TypeError):
        options = run.request["steps"][0]["options"]
        before = {"publish": options.get("package"), "package": options.get("build")}.get(run.kind)
        if before:
            chain += sources_of(bench, bench.run(before))
    return chain
