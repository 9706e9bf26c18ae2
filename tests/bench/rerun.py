"""A recipe run again with nothing changed: every step comes from the cache, so this is the toolkit alone."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from tests.bench.measure import EDGE, ROOT, Finding, Options, Skipped, clean_environ, run_child, spread
from tests.bench.short_recipe import lend_sample_model, write_short_recipe
from toolkit.core.run import find_run
from toolkit.settings import load

GOAL = 3.0


def measure(options: Options) -> list[Finding]:
    if options.engine == "local" and not load({}).build_python.exists():
        raise Skipped("there is no local build environment; `make build-env` makes it")
    home = options.home or options.work / "home"
    home.mkdir(parents=True, exist_ok=True)
    if options.home is None:
        lend_sample_model(home)
    recipe = _recipe(options)
    command = [EDGE, "run", str(recipe), "--engine", options.engine]
    environ = clean_environ(home)
    first = run_child(command, environ, options.work / "first.txt").seconds
    again = [_repeated(command, environ, home, options.work / "again.txt") for _ in range(options.repeat + 2)]
    median = statistics.median(again)
    build = median - statistics.median(_build_seconds(home, options.repeat + 2))
    reached = f"{median:.2f} s, of it {build:.2f} s before and after the build program; the first run took {first:.0f} s"
    return [Finding(f"`edge run {recipe.name}` again, {options.engine} engine", reached, f"{GOAL:.0f} s", median <= GOAL, spread(again))]


def _recipe(options: Options) -> Path:
    if options.recipe:
        return options.recipe
    return ROOT / "data" / "recipes" / "travel.toml" if options.home else write_short_recipe(options.work / "travel-short.toml")


def _repeated(command: list[str], environ: dict[str, str], home: Path, output: Path) -> float:
    seconds = run_child(command, environ, output).seconds
    steps = find_run(home / "runs", "last").state().steps.values()
    assert all(step.cached for step in steps), f"not cached: {[step.name for step in steps if not step.cached]}"
    return seconds


def _build_seconds(home: Path, count: int) -> list[float]:
    """Of the last runs: from the build program's first event to its last."""
    spans = []
    for number in range(count):
        names = sorted(path.name for path in (home / "runs").iterdir() if path.name[:4].isdigit())
        events = [json.loads(line) for line in (home / "runs" / names[-1 - number] / "events.jsonl").read_text().splitlines()]
        started = next(event["at"] for event in events if event["type"] == "RunStarted")
        spans.append(events[-1]["at"] - started)
    return spans
