"""A publishing run in words: what it is doing, what came of it, and who one is to the cloud."""

from __future__ import annotations

import time

from toolkit.core.cloud import Account, Right
from toolkit.core.files import as_duration, as_size
from toolkit.core.model_registry import Planned
from toolkit.core.publish_plan import in_words
from toolkit.core.results import release_of
from toolkit.core.run import RunState, StepState
from toolkit.core.whole_plan import WholePlan
from toolkit.core.wording import seconds_left
from toolkit.tui.harmless import harmless_line

DOING = {"rights": "Asking whether it is allowed", "verify": "Reading the digest back", "link": "Linking image and model"}
MOVING = {"push": "Pushing", "register": "Uploading"}
WORDS = {"waiting": "", "running": " ...", "finished": " done", "failed": " failed"}
STAYS = "It goes on without this screen, and without this terminal."


def steps_line(state: RunState) -> str:
    """Every step in a line, where there are more than a push and its check."""
    if set(state.steps) <= {"push", "verify"}:
        return ""
    return "   ".join(name + WORDS.get(step.status, f" {step.status}") for name, step in state.steps.items())


def outcome(run: str, state: RunState, now: float) -> str:
    """What is to be read below the bars."""
    if state.status == "finished":
        return _finished(state)
    if state.has_ending:
        return f"^r goes on with {run}: what is there already does not move again."
    current = state.current
    return f"{_doing(current, now) if current else 'Starting'}\n{STAYS}"


def _doing(step: StepState, now: float) -> str:
    """The step under way, and a line of its own for the layer or the file."""
    if step.name not in MOVING:
        return DOING.get(step.name, step.name)
    if step.name == "register" and not step.total:
        return "Looking at what the store has"
    parts = [f"{MOVING[step.name]} {as_size(step.done)}" + (f" of at most {as_size(step.total)}" if step.total else "")]
    left = seconds_left(step, now)
    parts += [f"ETA {as_duration(left)}"] if left is not None else []
    return "  ".join(parts) + (f"\n{step.message}" if step.message else "")


def _finished(state: RunState) -> str:
    release, model = release_of(state), registered_of(state)
    lines = []
    if release:
        metrics = state.steps["push"].metrics if "push" in state.steps else {}
        moved, there = (int(metrics.get(key, 0)) for key in ("layers_pushed", "layers_already_there"))
        size = next((artifact.bytes for artifact in state.artifacts if artifact.kind == "release"), 0)
        packed = " packed" if not model else ""
        lines += [f"Pushed and read back; {moved} layers moved, {there} were there, {as_size(size)}{packed} in all.", release]
    if model:
        metrics = state.steps["register"].metrics if "register" in state.steps else {}
        sent, held = metrics.get("bytes_sent", 0), metrics.get("bytes_there", 0)
        lines += [f"Registered; {as_size(sent)} uploaded" + (f", {as_size(held)} were there." if held else "."), model]
    return "\n".join([*lines, "y copies both." if release and model else "y copies it."])


def registered_of(state: RunState) -> str:
    """`azureml:NAME:VERSION` of a finished registration; empty before."""
    return next((artifact.path for artifact in state.artifacts if artifact.kind == "registered"), "")


def to_copy(state: RunState) -> str:
    """The digest, the model's id, or a line each."""
    return "\n".join(filter(None, (release_of(state), registered_of(state))))


def plan_in_words(plan: WholePlan) -> str:
    """What would happen, with the rights first where one is missing: nothing else matters then."""
    told = [in_words(plan.push)] if plan.push else []
    told += [_version(plan, plan.version)] if plan.version else []
    rights = [_right(right) for right in sorted(plan.rights, key=lambda right: right.is_held is None) if not right.is_held]
    held = [right.name for right in plan.rights if right.is_held]
    rights += [f"Held: {', '.join(held)}."] if held else []
    is_refused = any(right.is_held is False for right in plan.rights)
    problems = [first_sentence(problem) for problem in plan.problems]
    parts = [*rights, *problems, *told] if is_refused else [*problems, *told, *rights]
    return "\n".join(parts) or "There is nothing to do."


def first_sentence(problem: str) -> str:
    """What is wrong, without the way out: a plan tells it for a command line."""
    return f"{problem.partition('. ')[0].rstrip('.')}."


def _version(plan: WholePlan, version: Planned) -> str:
    name = f"{plan.model}:{version.version}"
    if version.existing:
        return f"{name} holds this very content already: nothing is uploaded."
    return f"{name} would be registered in {plan.store.rpartition('/')[2]}."


def _right(right: Right) -> str:
    """One that is missing, or may be."""
    if right.is_held is None:
        return f"UNKNOWN  {right.name}: {right.scope}" + (f"\n         {right.why}" if right.why else "")
    return f"MISSING  {right.name}: {right.scope}\n         Ask for the role {right.role} there."


def who(account: Account, is_wide: bool) -> str:
    """Who, by what, where, and until when the token lasts, in a line."""
    tenant = account.tenant if is_wide or len(account.tenant) < 20 else f"{account.tenant[:8]}.."
    kind = f" ({account.kind})" if account.kind not in ("", "person") else ""
    until = time.strftime("%H:%M", time.localtime(account.expires)) if account.expires else "?"
    return harmless_line(f"Azure: {account.who}{kind} by {account.source}, tenant {tenant}, until {until}")
