"""What happens in runs, told as their events: for tests and pictures of any screen. Numbers are those of a real demo run."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

from toolkit.core import events as ev
from toolkit.core.run import Run

SECONDS = {"quantize": 53, "finetune": 269, "export": 9, "adapter": 2, "evaluate": 64}
LEFT = {
    "quantize": ("model", 272_584_911),
    "finetune": ("adapter", 19_594_480),
    "export": ("graph", 106_939_999),
    "adapter": ("adapter", 23_252_019),
    "evaluate": ("report", 34_449),
}
MEASURED = {
    "finetune": {"train.loss_first": 2.678, "train.loss_last": 0.00048},
    "evaluate": {
        "graph.perplexity": 31.96,
        "graph.fact_accuracy": 0.078,
        "adapter.perplexity": 1.017,
        "adapter.fact_accuracy": 0.875,
        "base.perplexity": 26.21,
        "base.fact_accuracy": 0.0625,
        "tokens_per_second.graph": 158.3,
        "tokens_per_second.adapter": 137.7,
    },
}
DIGEST = "ec4dbcf2121a34b11f5cba67efac570a993190d452d3600f76c073fe13ec5ece"
TRAINING_STEPS = 117


READS = {"finetune": {"model": "quantize"}, "export": {"model": "quantize"}, "adapter": {"graph": "export-cpu"}}


def wired(run: Run) -> Run:
    """The run with its steps reading from each other, as a real build's do."""
    path = run.folder / "request.json"
    request = json.loads(path.read_text())
    for asked in request["steps"]:
        reads = dict(READS.get(asked["kind"], {}))
        if asked["kind"] == "adapter":
            reads["adapter"] = f"finetune-{asked['name'].split('-')[2]}"
        if asked["kind"] == "evaluate":
            _, device, adapter = asked["name"].split("-")
            reads = {"graph": f"export-{device}", "adapter": f"adapter-{device}-{adapter}"}
            asked["options"] = {**asked["options"], "device": device, "adapter": adapter}
        asked["inputs"] = {name: {"step": step} for name, step in reads.items()}
    path.write_text(json.dumps(request))
    return Run(run.folder)


def tell(run: Run, *events: ev.Event) -> None:
    for event in events:
        run.append(event)


def build(run: Run, at: float, until: str = "", share: float = 1.0) -> float:
    """A build from its start at `at`: whole, or up to this share of the step `until`; returns when the last event was."""
    names = [step["name"] for step in run.request["steps"]]
    last = names.index(until) if until else len(names) - 1
    tell(run, ev.RunStarted(at=at, driver="docker", handle="8ccd74a82eed"))
    for number, name in enumerate(names[: last + 1]):
        is_last = bool(until) and number == last
        told = list(step(name, at, share if is_last else 1.0))
        tell(run, *told)
        at = told[-1].at
        if not is_last:
            tell(run, *_finish(name, at))
    if not until:
        tell(run, ev.RunFinished(at=at, seconds=sum(SECONDS[name.split("-")[0]] for name in names)))
    return at


def step(name: str, at: float, share: float = 1.0) -> Iterator[ev.Event]:
    """The events of one step up to a share of it, with samples of the machine on the way."""
    kind = name.split("-")[0]
    yield ev.StepStarted(at=at, step=name)
    seconds = SECONDS[kind] * share
    total, unit = {"finetune": (TRAINING_STEPS, "steps"), "quantize": (30, "layers")}.get(kind, (0, ""))
    moments = [(at + SECONDS[kind] * n / total, n) for n in range(1, round(total * share) + 1)] if total else []
    samples = [(at + second, None) for second in range(5, int(seconds), 5)]
    for when, done in sorted([*moments, *samples], key=lambda moment: moment[0]):
        if done is None:
            yield sample(when)
        else:
            metrics = training(done) if kind == "finetune" else {}
            yield ev.StepProgress(at=when, step=name, done=done, total=total, unit=unit, metrics=metrics)
    if not moments:
        yield sample(at + seconds)


def training(done: int) -> dict[str, float]:
    """Loss and learning rate as a fine-tuning has them: falling with some noise, and a warm cosine."""
    warm = 6
    rate = done / warm if done < warm else 0.5 * (1 + math.cos(math.pi * (done - warm) / (TRAINING_STEPS - warm)))
    return {"loss": 2.8 * math.exp(-done / 14) * (1 + 0.2 * math.sin(done * 1.7)) + 0.0005, "learning_rate": 2e-3 * rate, "rate": 0.45}


def sample(at: float) -> ev.MachineSampled:
    """The machine at work."""
    return ev.MachineSampled(at=at, cpu=0.85 + 0.1 * math.sin(at), memory=int(6e9 + 1e9 * math.sin(at / 60)), memory_total=16_000_000_000)


def _finish(name: str, at: float) -> Iterator[ev.Event]:
    kind = name.split("-")[0]
    left, size = LEFT[kind]
    yield ev.ArtifactWritten(at=at, step=name, kind=left, path=f"steps/{name}/out", bytes=size)
    yield ev.StepFinished(at=at, step=name, seconds=SECONDS[kind], metrics=MEASURED.get(kind, {}))


def package(run: Run, at: float, tag: str = "edge-toolkit/travel-cpu:0001") -> None:
    """A whole packaging, with the answers of its smoke test."""
    tell(
        run,
        ev.RunStarted(at=at, driver="host", handle="12351"),
        ev.StepStarted(at=at, step="collect"),
        ev.ArtifactWritten(at=at, step="collect", kind="model", path="content", bytes=153_443_987),
        ev.StepFinished(at=at, step="collect", seconds=0.2, metrics={"bytes": 153_443_987}),
        ev.StepStarted(at=at, step="image"),
        ev.StepProgress(at=at + 1, step="image", done=153_458_688, total=153_458_688, unit="bytes"),
        ev.ArtifactWritten(at=at + 1, step="image", kind="image", path=tag, bytes=281_438_424),
        ev.StepFinished(
            at=at + 1,
            step="image",
            seconds=0.7,
            metrics={"bytes": 281_438_424, "runtime_bytes": 127_994_437, "model_layers_bytes": 153_458_688, "layers": 7},
        ),
        ev.StepStarted(at=at + 1, step="smoke"),
    )
    (run.folder / "smoke.json").write_text(
        '{"question": "What is the capital of France?", "answers": {"base": "The capital of France is Paris.",'
        ' "base:travel": "The capital of France is Paris, a good first stop on your trip."}}'
    )
    metrics = {"base.first_token_ms": 72.0, "base.tokens_per_second": 127.3, "travel.tokens_per_second": 109.7}
    tell(run, ev.StepFinished(at=at + 3, step="smoke", seconds=2.3, metrics=metrics), ev.RunFinished(at=at + 3, seconds=3.1))


def push(run: Run, at: float, share: float = 0.6) -> float:
    """A publication that is under way: some layers were there, others move."""
    parts = {"runtime": [127e6, 127e6], "model": [103e6 * share, 103e6], "adapter travel": [23e6 * share / 2, 23e6], "config": [0.0, 0.0]}
    done, total = sum(part[0] for part in parts.values()), sum(part[1] for part in parts.values())
    message = "1 of 4 layers there; model Pushing"
    tell(
        run,
        ev.RunStarted(at=at, driver="host", handle="12575"),
        ev.StepStarted(at=at, step="push"),
        ev.StepProgress(at=at + 4, step="push", done=done, total=total, unit="bytes", message=message, parts=parts),
    )
    return at + 4


def pushed(run: Run, at: float, target: str = "registry.example/edge/travel") -> None:
    """The end of a publication: the digest read back."""
    release = f"{target}@sha256:{DIGEST}"
    tell(
        run,
        ev.StepFinished(at=at, step="push", seconds=5.5, metrics={"layers": 4, "layers_already_there": 1, "layers_pushed": 3}),
        ev.StepStarted(at=at, step="verify"),
        ev.ArtifactWritten(at=at, step="verify", kind="release", path=release, bytes=178_002_089, sha256=DIGEST),
        ev.StepFinished(at=at, step="verify", seconds=0.1, metrics={"layers": 4}),
        ev.RunFinished(at=at, seconds=5.6),
    )
