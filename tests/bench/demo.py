"""`edge demo` in a fresh home: its time step by step, and the peak memory of all its processes.

What comes from the network is fetched beforehand: the sample model's wheel (into pip's cache) and our images.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from tests.bench.measure import EDGE, Finding, Options, Skipped, clean_environ
from tests.bench.process_memory import Containers, Sampler
from toolkit import settings as settings_module
from toolkit.core import sample
from toolkit.core.events import StepFinished, StepStarted, from_line
from toolkit.core.images import OwnImage
from toolkit.core.run import Run, all_runs
from toolkit.wiring import make_workbench

TOTAL_GOAL, QUANTIZE_GOAL, MEMORY_GOAL = 12 * 60.0, 120.0, 6e9


def measure(options: Options) -> list[Finding]:
    home = options.work / "home"
    home.mkdir()
    environ = clean_environ(home)
    _fetch(options, environ)
    command = [EDGE, "demo", "--engine", options.engine, *(["--recipe", str(options.recipe)] if options.recipe else [])]
    seconds, sampler = _watched(command, environ, options.work / "demo.txt", options.engine)
    runs = all_runs(home / "runs")
    peak = sampler.peak()
    whole = [
        Finding(
            f"`edge demo`, {options.engine} engine, fresh home",
            f"{seconds:.0f} s",
            f"{TOTAL_GOAL:.0f} s",
            seconds <= TOTAL_GOAL,
            "wheel and images fetched before",
        ),
        Finding(
            "Peak memory of all its processes",
            f"{peak / 1e9:.2f} GB",
            f"{MEMORY_GOAL / 1e9:.0f} GB",
            peak <= MEMORY_GOAL,
            "PSS, every 0.2 s",
        ),
    ]
    steps = [finding for run in runs for finding in _steps(run, sampler)]
    return [*whole, *steps, *[finding for run in runs for finding in _accuracy(run)]]


def _fetch(options: Options, environ: dict[str, str]) -> None:
    """Have pip's cache and the engine hold what the demo would fetch."""
    fetched = options.work / "wheel"
    sample.fetch_wheel(fetched)
    if options.engine == "local":
        if not settings_module.load({}).build_python.exists():
            raise Skipped("there is no local build environment; `make build-env` makes it")
        return
    bench = make_workbench(settings_module.load(environ), options.engine)
    for role in ("build", "runtime"):
        for line in OwnImage(role, "cpu").ensure(bench.settings, bench.image_engine()):
            print(line, flush=True)


def _watched(command: list[str], environ: dict[str, str], output: Path, engine: str) -> tuple[float, Sampler]:
    containers = Containers() if engine == "docker" else None
    began = time.monotonic()
    with open(output, "wb") as sink:
        child = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT)
        sampler = Sampler(lambda: [child.pid, *(containers.pids() if containers else [])])
        sampler.start()
        code = child.wait()
    seconds = time.monotonic() - began
    sampler.end()
    if code:
        raise RuntimeError(f"edge demo ended with {code}:\n{output.read_text(errors='replace')[-3000:]}")
    print(output.read_text(errors="replace")[-3000:])
    return seconds, sampler


def _steps(run: Run, sampler: Sampler) -> list[Finding]:
    """Each step's time and the peak memory while it ran."""
    started: dict[str, float] = {}
    findings = []
    for line in run.events_file.read_bytes().splitlines():
        event = from_line(line)
        if isinstance(event, StepStarted):
            started[event.step] = event.at
        if isinstance(event, StepFinished):
            peak = sampler.peak(started[event.step], event.at)
            goal = QUANTIZE_GOAL if event.step == "quantize" else None
            reached = f"{event.seconds:.1f} s, peak {peak / 1e9:.2f} GB" if peak else f"{event.seconds:.1f} s"
            findings.append(
                Finding(f"step {event.step}", reached, f"{goal:.0f} s" if goal else "", event.seconds <= goal if goal else None)
            )
    return findings


def _accuracy(run: Run) -> list[Finding]:
    """Of every evaluation: the share of held-out facts that the base and the adapter know."""
    findings = []
    for step in run.state().steps.values():
        metrics = step.metrics
        if step.name.startswith("evaluate-") and "adapter.fact_accuracy" in metrics:
            values = [
                f"{label} {metrics[f'{key}.fact_accuracy']:.2f}"
                for key, label in (("base", "base in PyTorch"), ("graph", "exported base"), ("adapter", "with adapter"))
            ]
            is_met = metrics["adapter.fact_accuracy"] > metrics["base.fact_accuracy"]
            findings.append(Finding(f"fact accuracy, {step.name}", ", ".join(values), "adapter above base", is_met))
    return findings
