"""Events and steps in words, the same for every front end."""

from __future__ import annotations

from toolkit.core import events as ev
from toolkit.core.files import as_duration, as_size
from toolkit.core.run import RunState, StepState

TELLING_SECONDS, TELLING_SHARE = 5.0, 0.03
TOLD = ("perplexity", "fact_accuracy", "tokens_per_second", "loss_first", "loss_last")
"""Endings of the metrics that are worth a person's while when a step is done."""


def facts_of(step: StepState, now: float) -> str:
    """Step, rate, ETA and measurements of a running step, in one line."""
    parts = [counted(step)] if step.unit else []
    passed = now - (step.started_at or now)
    if step.done and passed > 1 and step.unit != "bytes":
        parts.append(f"{step.done / passed:.2g} {step.unit}/s")
    left = seconds_left(step, now)
    if left is not None:
        parts.append(f"ETA {as_duration(left)}")
    parts += [f"{name} {value:.4g}" for name, value in step.metrics.items() if name in ("loss", "held_out_loss", "learning_rate")]
    if step.message:
        parts.append(step.message[:60])
    return "  ".join(parts)


def counted(step: StepState) -> str:
    """How far a step is, in its own unit: `53 steps/117 steps`."""
    done = _count(step.done, step.unit)
    return f"{done}/{_count(step.total, step.unit)}" if step.total else done


def seconds_left(step: StepState, now: float) -> float | None:
    """What a running step still takes, if it goes on as so far; None where nothing can be said."""
    passed = now - (step.started_at or now)
    if not step.done or not step.total or not is_telling(step, passed):
        return None
    return max(step.total - step.done, 0) * passed / step.done


def is_telling(step: StepState, passed: float) -> bool:
    """True where it has gone on for long enough to say how fast it goes: the first moments say nothing."""
    return passed > 1 and bool(step.total) and (passed >= TELLING_SECONDS or step.done >= TELLING_SHARE * step.total)


def _count(value: float, unit: str) -> str:
    return as_size(value) if unit == "bytes" else f"{value:g} {unit}"


def as_text(event: ev.Event, state: RunState) -> str:
    """An event as one line for people; empty for those that say nothing to them."""
    match event:
        case ev.RunRequested():
            return f"run {event.run}: {', '.join(event.steps)}"
        case ev.RunStarted():
            return f"driven by {event.driver} {event.handle[:12]}"
        case ev.StepStarted():
            return f"{event.step} started"
        case ev.StepProgress():
            return f"{event.step} {facts_of(state.steps[event.step], event.at)}"
        case ev.ArtifactWritten():
            return f"{event.step} wrote {event.kind} {event.path} ({as_size(event.bytes)})"
        case ev.StepFinished(cached=True):
            return f"{event.step} done already: nothing had changed, taken from the cache"
        case ev.StepFinished():
            return f"{event.step} done in {as_duration(event.seconds)}{_measured(event.metrics)}"
        case ev.StepFailed():
            return f"{event.step} FAILED: {event.error}"
        case ev.RunFinished():
            return f"finished in {as_duration(event.seconds)}"
        case ev.RunStopped():
            return "stopped"
        case ev.RunInterrupted():
            return f"interrupted: {event.reason}"
    return ""


def _measured(metrics: dict[str, float]) -> str:
    told = [f"{name} {value:.3g}" for name, value in metrics.items() if name.endswith(TOLD)]
    return f" ({', '.join(told)})" if told else ""
