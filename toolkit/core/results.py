"""What a run achieved, ready to be shown: measurements, sizes before and after, answers of the smoke test, what was pushed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from toolkit.core.compare import is_comparison, note_of
from toolkit.core.files import folder_bytes
from toolkit.core.outlook import Taken, taken_before
from toolkit.core.run import Run, RunState
from toolkit.core.untried import told_by
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError

EARLIER = 8
"""So many runs before this one are asked how long its steps took."""
SHRUNK = {"quantize": "model", "export": "model", "adapter": "adapter"}
"""Kind of step -> the input of which its output is another form; only there, before and after mean anything."""


@dataclass(frozen=True)
class Measured:
    """One model on one adapter's held-out rows."""

    data: str
    model: str
    perplexity: float | None
    fact_accuracy: float | None


@dataclass(frozen=True)
class Sizes:
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Answer:
    """What one model said to the question of the smoke test."""

    model: str
    text: str
    tokens_per_second: float | None = None


@dataclass(frozen=True)
class Backdrop:
    """What is known of a run besides its events; read once, for it does not change while the run goes on."""

    kind: str = ""
    recipe: str = ""
    steps: Mapping[str, Mapping] = field(default_factory=dict)
    """Name -> what was asked of the step: kind, options, inputs."""
    input_bytes: Mapping[str, int] = field(default_factory=dict)
    """Step -> size of the folder or file it starts from, where that is no other step's."""
    taken: Taken = field(default_factory=dict)
    note: str = ""
    """What to know when reading what it measured."""

    @property
    def options(self) -> Mapping:
        """Of the first step; packaging and publishing runs give all their steps the same."""
        return next((step.get("options", {}) for step in self.steps.values()), {})


def backdrop(bench: Workbench, run: Run) -> Backdrop:
    """Read what the screen needs to know of a run; walks the folders of its inputs.

    Raises:
        RunError: the request in the folder cannot be read.
    """
    steps = {step["name"]: step for step in run.request["steps"]}
    recipe = run.request["recipe"].get("name", "")
    sizes = {name: folder_size(Path(path)) for name, step in steps.items() if (path := _shrunk(step).get("path"))}
    note = note_of(run.request["recipe"]) if is_comparison(steps.values()) else ""
    return Backdrop(run.kind, recipe, steps, {name: size for name, size in sizes.items() if size}, taken_before(_earlier(bench, run)), note)


def _earlier(bench: Workbench, run: Run) -> list[tuple[str, RunState]]:
    told = []
    before = [one for one in bench.runs() if one.id.split("-")[1:] == run.id.split("-")[1:] and one.id < run.id]
    for one in before[-EARLIER:]:
        try:
            told.append((one.request["recipe"].get("name", ""), one.state()))
        except (ToolkitError, OSError):
            continue  # a run that cannot be read says nothing about time
    return told


def _shrunk(step: Mapping) -> Mapping:
    return step.get("inputs", {}).get(SHRUNK.get(step.get("kind", ""), ""), {})


def folder_size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; 0 where there is none."""
    try:
        return path.stat().st_size if path.is_file() else folder_bytes(path)
    except OSError:
        return 0


def sizes_of(known: Backdrop, state: RunState) -> dict[str, Sizes]:
    """Step -> how large what it made is, and what it made it from."""
    after = {made.step: made.bytes for made in state.artifacts if made.kind != "report"}
    before = {name: known.input_bytes.get(name) or after.get(_shrunk(step).get("step", "")) for name, step in known.steps.items()}
    return {name: Sizes(before.get(name), after[name]) for name in after}


def measured(known: Backdrop, state: RunState) -> list[Measured]:
    """What the evaluate steps have measured so far: base, exported base, and with the adapter."""
    rows = []
    for step in state.steps.values():
        asked = known.steps.get(step.name, {})
        if asked.get("kind") == "evaluate" and step.metrics:
            adapter = asked.get("options", {}).get("adapter") or step.name.split("-", 2)[-1]
            for key, label in (("base", "base, PyTorch"), ("graph", "base, exported"), ("adapter", f"with {adapter}")):
                figures = [step.metrics.get(f"{key}.{name}") for name in ("perplexity", "fact_accuracy")]
                rows.append(Measured(step.name, label, *figures))
    return rows


def smoke_answers(run: Run, state: RunState) -> tuple[str, list[Answer]]:
    """The question of the smoke test and what each model answered, or why it was not asked; empty before it is over."""
    if untried := told_by(run):
        return f"{untried[:1].upper()}{untried[1:]}.", []
    try:
        told = json.loads((run.folder / "smoke.json").read_text("utf-8"))
        metrics = state.steps["smoke"].metrics if "smoke" in state.steps else {}
        answers = [
            Answer(model, str(text), metrics.get(f"{model.partition(':')[2] or 'base'}.tokens_per_second"))
            for model, text in told["answers"].items()
        ]
        return str(told["question"]), answers
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "", []


def release_of(state: RunState) -> str:
    """What a publishing run left in the registry, by digest; empty before it has."""
    return next((made.path for made in state.artifacts if made.kind == "release"), "")


def devices_of(build: Run) -> list[str]:
    """The devices that a finished build has made something for; none where it was a comparison, which makes no adapters."""
    if is_comparison(build.request["steps"]):
        return []
    return list(dict.fromkeys(step["options"]["device"] for step in build.request["steps"] if step["kind"] == "export"))
