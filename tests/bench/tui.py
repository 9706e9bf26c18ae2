"""What a person feels of the terminal UI: first paint, keys, quitting, and the bytes that go over the line. All in a real pty."""

from __future__ import annotations

import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.bench.front_end import make_runs
from tests.bench.measure import EDGE, Finding, Options, clean_environ, interleaved, run_child, spread
from tests.terminal import Terminal
from toolkit.tui.lookout import MACHINE_SECONDS

PAINT_GOAL, KEY_GOAL, QUIT_GOAL = 0.5, 0.05, 0.3
SLOW_GOAL = 3000
"""Bytes a second while following a run over a slow connection."""
KEYS = 100
FOLLOWED, IDLE = 20.0, 10.0
"""Seconds that bytes are counted for."""
SETTLED = 2 * MACHINE_SECONDS
"""Seconds after which the second look at the machine has seen it without the start."""


def measure(options: Options) -> list[Finding]:
    home = options.work / "home"
    locks = make_runs(home / "runs")
    environ = clean_environ(home, EDGE_ENGINE="local", EDGE_THEME="dark", TERM="xterm-256color", COLORTERM="truecolor")
    for lock in locks:
        lock.close()
    busy_home = options.work / "busy"
    busy = {**environ, "EDGE_HOME": str(busy_home)}
    findings = [*_first_paint(environ, options.repeat), _quit("idle", environ, nothing, options.repeat), _idle(environ)]
    with _busy_run(busy_home):
        findings += _keys(busy) + _following(busy)
        findings.append(_quit("following a run that logs 2,000 lines/s", busy, _open_run, options.repeat))
    with _deaf_engine(options.work / "deaf.sock") as address:
        deaf = {**environ, "DOCKER_HOST": address, "EDGE_ENGINE": "auto"}
        findings.append(_quit("while the engine takes calls and never answers", deaf, _ask_the_engine, options.repeat))
    return findings


def nothing(terminal: Terminal) -> None: ...


def _first_paint(environ: dict[str, str], repeat: int) -> list[Finding]:
    def taken(wanted: str) -> float:
        with Terminal([EDGE], environ) as terminal:
            return terminal.wait_for(wanted) - terminal.started_at

    newest = "0500"
    taken(newest)  # bytecode and page cache, as they are on any day but the first
    bare = lambda: run_child([sys.executable, "-c", "pass"]).seconds  # noqa: E731
    took = interleaved({"bare": bare, "paint": lambda: taken("6 Doctor"), "runs": lambda: taken(newest)}, max(7, repeat))
    middle = {name: statistics.median(values) for name, values in took.items()}
    told = {name: f"{middle[name]:.2f} s, {middle[name] / middle['bare']:.1f} times a bare `python -c pass`" for name in ("paint", "runs")}
    return [
        Finding("First paint of `edge`, warm", told["paint"], f"{PAINT_GOAL} s", middle["paint"] <= PAINT_GOAL, spread(took["paint"])),
        Finding("The newest of 500 runs can be read", told["runs"], how=spread(took["runs"])),
    ]


def _keys(environ: dict[str, str]) -> list[Finding]:
    """Opening and closing the help: a new screen over the old one, the most that a key asks for."""
    findings = []
    for place, go in (("Home", nothing), ("the Run screen", _open_run), ("the log", _open_log)):
        with Terminal([EDGE], environ) as terminal:
            terminal.wait_for("6 Doctor")
            go(terminal)
            taken = []
            for _ in range(KEYS):
                taken.append(-terminal.press("?") + terminal.wait_for("Keys here"))
                taken.append(-terminal.press("q") + terminal.wait_for(lambda text: "Keys here" not in text))
        middle, late = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
        findings.append(
            Finding(
                f"Key to paint on {place} while a run logs 2,000 lines/s",
                f"p50 {1000 * middle:.0f} ms, p95 {1000 * late:.0f} ms",
                f"p95 {1000 * KEY_GOAL:.0f} ms",
                late <= KEY_GOAL,
                f"{len(taken)} keys that open and close the help; longest {1000 * max(taken):.0f} ms",
            )
        )
    return findings


def _following(environ: dict[str, str]) -> list[Finding]:
    findings = []
    ways = [(f"{what}{said}", arguments, goal, go) for what, go in VIEWS.items() for said, arguments, goal in PACES]
    for name, arguments, goal, go in ways:
        with Terminal([EDGE, *arguments], environ) as terminal:
            go(terminal)
            rate = _bytes_in(terminal, FOLLOWED) / FOLLOWED
            peak = _peak_memory(terminal.pid)
        how = f"80x24, {FOLLOWED:.0f} s; peak memory {peak / 1e6:.0f} MB"
        wanted = f"{goal} B/s" if goal else ""
        findings.append(Finding(f"Bytes while following {name}", f"{rate:.0f} B/s", wanted, rate <= goal if goal else None, how))
    return findings


def _idle(environ: dict[str, str]) -> Finding:
    with Terminal([EDGE], environ) as terminal:
        terminal.wait_for("0500")
        terminal.wait_for_answers(3)
        time.sleep(SETTLED)
        sent = _bytes_in(terminal, IDLE)
    how = f"from {SETTLED:.0f} s after the start on: until then the machine's gauge falls from the load of the start itself"
    return Finding(f"Bytes of an idle Home in {IDLE:.0f} s, 500 runs", str(sent), "0", sent == 0, how)


def _quit(when: str, environ: dict[str, str], go: Callable[[Terminal], None], repeat: int) -> Finding:
    taken = []
    for _ in range(max(5, repeat)):
        with Terminal([EDGE], environ) as terminal:
            terminal.wait_for("6 Doctor")
            go(terminal)
            pressed = terminal.press("ctrl+q")
            terminal.wait_for_end()
            taken.append(time.monotonic() - pressed)
    return Finding(f"Quitting, {when}", f"{max(taken):.2f} s at worst", f"{QUIT_GOAL} s", max(taken) <= QUIT_GOAL, spread(taken))


def _open_run(terminal: Terminal) -> None:
    """From Home into the run that is under way."""
    terminal.wait_for("busy")
    terminal.press("enter")
    terminal.wait_for(lambda text: "finetune-travel" in text and "export-cpu" in text)


def _open_log(terminal: Terminal) -> None:
    _open_run(terminal)
    terminal.press("l")
    terminal.wait_for("of a step that talks a lot")


PACES = (("", (), None), (" with `--slow`", ("--slow",), SLOW_GOAL))
VIEWS = {"a run": _open_run, "its log of 2,000 lines/s": _open_log}


def _ask_the_engine(terminal: Terminal) -> None:
    for key, place in (("3", "Images"), ("6", "Doctor"), ("1", "Runs")):
        terminal.press(key)
        terminal.wait_for(f"[{place}]")


def _bytes_in(terminal: Terminal, seconds: float) -> int:
    began = time.monotonic()
    time.sleep(seconds)
    return terminal.bytes_since(began)


def _peak_memory(pid: int) -> int:
    told = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert told
    return int(told[1]) * 1024


@contextmanager
def _busy_run(home: Path) -> Iterator[None]:
    argv: Sequence[str] = [sys.executable, "-m", "tests.bench.busy_run", str(home)]
    busy = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert busy.stdout
    busy.stdout.readline()
    try:
        yield
    finally:
        busy.kill()
        busy.wait()


@contextmanager
def _deaf_engine(path: Path) -> Iterator[str]:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(path))
        deaf.listen(64)
        yield f"unix://{path}"
