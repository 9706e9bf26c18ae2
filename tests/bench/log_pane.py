"""The log pane with a million lines: opening, searching, filtering, memory, and the longest time the screen stood still."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tests.bench.measure import ROOT, Finding, Options, clean_environ, run_child
from toolkit.core import events as ev
from toolkit.core.run import Run, new_run

LINES = 1_000_000
MEMORY_GOAL, SEARCH_GOAL, STALL_GOAL = 200e6, 1.0, 0.1
BEAT = 0.005
"""Between two looks at the clock of the screen's own loop."""


def measure(options: Options) -> list[Finding]:
    run = logged_run(options.work / "home" / "runs")
    output = options.work / "log_pane.json"
    environ = clean_environ(options.work / "home", EDGE_ENGINE="local", TERM="xterm-256color", PYTHONPATH=str(ROOT))
    taken = []
    for _ in range(options.repeat):
        run_child([sys.executable, "-m", "tests.bench.log_pane", str(options.work / "home"), run.id], environ, output)
        taken.append(json.loads(output.read_text()))
    size = (run.folder / "log.txt").stat().st_size / 1e6
    worst = {name: max(one[name] for one in taken) for name in taken[0]}
    how = f"the worst of {len(taken)} runs of the app, 120x40, without a terminal"
    log = f"a log of {LINES:,} lines ({size:.0f} MB)"
    return [
        Finding(f"Opening {log}: first lines, all lines", f"{worst['first']:.2f} s, {worst['all']:.2f} s", how=how),
        Finding(
            "Search for what is nowhere", f"{worst['search']:.2f} s", f"{SEARCH_GOAL:g} s", worst["search"] <= SEARCH_GOAL, "key to word"
        ),
        Finding("Filter that fits a tenth", f"{worst['filter']:.2f} s", how="key to the last line"),
        Finding(
            "Memory of the app then",
            f"peak {worst['memory'] / 1e6:.0f} MB",
            f"{MEMORY_GOAL / 1e6:.0f} MB",
            worst["memory"] <= MEMORY_GOAL,
            "ru_maxrss",
        ),
        Finding(
            "The screen's longest standstill meanwhile",
            f"{worst['stall'] * 1000:.0f} ms",
            f"{STALL_GOAL * 1000:.0f} ms",
            worst["stall"] <= STALL_GOAL,
            "a clock in its loop, while reading, searching and filtering",
        ),
    ]


def logged_run(runs: Path) -> Run:
    """A finished run whose log has a million lines."""
    run = new_run(runs, "build", "long", lambda _: {"engine": "local", "recipe": {"name": "long"}, "steps": [{"name": "finetune"}]})
    for event in (ev.RunRequested(run=run.id, kind="build", steps=("finetune",)), ev.RunFinished(seconds=1)):
        run.append(event)
    with open(run.folder / "log.txt", "w") as log:
        for number in range(LINES):
            log.write(
                f"2026-11-22 19:18:{number % 60:02d},{number % 1000:03d} [INFO] step {number} of the work, loss {1 / (number + 1):.6f}, "
            )
            log.write(f"group {number % 10}, some more words\n")
    return run


async def _in_the_app(home: Path, run_id: str) -> dict[str, float]:
    from tests.tui.stage import LARGE
    from toolkit.settings import Settings
    from toolkit.tui.app import EdgeApp
    from toolkit.tui.messages import ShowRun
    from toolkit.tui.pace import NORMAL
    from toolkit.tui.screens.run import RunScreen
    from toolkit.tui.widgets.log_pane import LogPane
    from toolkit.wiring import make_workbench

    app, taken = EdgeApp(make_workbench(Settings(home=home, engine="local")), NORMAL), {}
    async with app.run_test(size=LARGE) as pilot:
        await pilot.pause()
        app.post_message(ShowRun(run_id))
        await _until(lambda: isinstance(app.screen, RunScreen) and app.screen.is_mounted)
        pane = app.screen.query_one(LogPane)
        taken["first"] = await _until(lambda: len(pane.log_file) and pane.view.virtual_size.height)
        async with _stalls(taken):
            taken["all"] = taken["first"] + await _until(lambda: pane.view.virtual_size.height == LINES)
            await pilot.press("l", "slash", *"absent")
            taken["search"] = await _pressed(pilot, "enter", lambda: "no line has" in pane._said)
            await pilot.press("ampersand", *"group 7")
            taken["filter"] = await _pressed(pilot, "enter", lambda: pane.view.virtual_size.height == LINES // 10)
    return {**taken, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


async def _pressed(pilot, key: str, condition: Callable[[], object]) -> float:
    began = time.monotonic()
    await pilot.press(key)
    await _until(condition)
    return time.monotonic() - began


async def _until(condition: Callable[[], object]) -> float:
    """Seconds until it came to pass."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > 120:
            raise TimeoutError("it did not come to pass")
        await asyncio.sleep(BEAT)
    return time.monotonic() - began


@asynccontextmanager
async def _stalls(taken: dict[str, float]) -> AsyncIterator[None]:
    """Note the longest time in which the loop did not come round."""
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(BEAT)
            longest = max(longest, time.monotonic() - before - BEAT)

    heart = asyncio.create_task(beat())
    try:
        yield
    finally:
        heart.cancel()
        taken["stall"] = longest


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_in_the_app(Path(sys.argv[1]), sys.argv[2]))))
