"""What the toolkit adds to a build: the same build program on the same steps, bare and driven by the toolkit.

`bare` is `python run_steps.py RUN`, for Docker `docker run` of the same image with the same mounts. `edge` is
`edge resume RUN` on a fresh request: start, supervise, follow, plain lines to a file, as `edge run` does once it has
looked at the recipe.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.measure import EDGE, ROOT, Finding, Options, clean_environ, interleaved, overhead, run_child, spread
from tests.engines.conftest import DOCKERFILE
from tests.services.fixtures import state
from toolkit.core.images import SHARED
from toolkit.core.run import Run, new_run

KINDS = ("first", "second", "third")
BLOCKS = 40
"""Of a step, as cpu_step.py has them."""
WORK_SECONDS, SHORT_SECONDS = 20.0, 1.0
"""Of one build, all its steps together. The short one shows the fixed part, where the long one is lost in noise."""
GOAL = 0.02
IMAGE = "edge-toolkit/bench-build:overhead"


def measure(options: Options) -> list[Finding]:
    program = build_program(options.work / "program")
    speed = _rounds_a_second()
    findings = _compared(options, program, speed, "local", "")
    if state().get("base_image") and _docker("version"):
        findings += _in_docker(options, program, speed)
    return findings


def _in_docker(options: Options, program: Path, speed: float) -> list[Finding]:
    (program.parent / "Dockerfile").write_text(DOCKERFILE.format(base=state()["base_image"]))
    if not _docker("build", "--network", "host", "--tag", IMAGE, str(program.parent)):
        return [Finding("Wall time added, docker engine", "not measured: the image of the stub program could not be built")]
    try:
        return _compared(options, program, speed, "docker", IMAGE)
    finally:
        _docker("image", "rm", "--force", IMAGE)


def build_program(folder: Path) -> Path:
    """A `containers` folder with the real build program, whose steps only work the processor."""
    build = folder / "containers" / "build"
    build.mkdir(parents=True)
    for path in sorted((ROOT / "containers" / "build").glob("*.py")):
        if not path.name.startswith("step_") or path.name in ("step_io.py", "step_key.py"):
            shutil.copyfile(path, build / path.name)
    for shared in SHARED:
        shutil.copyfile(ROOT / "toolkit" / "core" / shared, build / shared)
    for kind in KINDS:
        shutil.copyfile(Path(__file__).with_name("cpu_step.py"), build / f"step_{kind}.py")
    return build.parent


def _rounds_a_second() -> float:
    """The fastest of three tries: how fast this processor is when nobody disturbs it."""
    return max(_one_try(400_000) for _ in range(3))


def _one_try(rounds: int) -> float:
    began = time.monotonic()
    hashlib.pbkdf2_hmac("sha256", b"edge", b"toolkit", rounds)
    return rounds / (time.monotonic() - began)


def _compared(options: Options, program: Path, speed: float, engine: str, image: str) -> list[Finding]:
    """The share added to a build of 20 s, and the seconds added to any."""
    home = options.work / engine
    (home / "cache").mkdir(parents=True)
    environ = clean_environ(
        home, EDGE_ENGINE=engine, EDGE_CONTAINERS=str(program), EDGE_BUILD_PYTHON=sys.executable, EDGE_BUILD_IMAGE=image
    )
    commands = {"bare": bare_command(program, home, image), "edge": lambda run: [EDGE, "resume", run.id]}

    def taken_with(seconds: float, repeat: int) -> dict[str, list[float]]:
        rounds = int(speed * seconds / BLOCKS / len(KINDS))
        return interleaved({name: _taker(home, engine, rounds, environ, command) for name, command in commands.items()}, repeat)

    return [_share(engine, taken_with(WORK_SECONDS, options.repeat)), _fixed(engine, taken_with(SHORT_SECONDS, options.repeat + 4))]


def _share(engine: str, taken: dict[str, list[float]]) -> Finding:
    share = overhead(taken["edge"], taken["bare"])
    is_quiet = all(max(values) < (1 + GOAL) * min(values) for values in taken.values())  # else noise exceeds what is looked for
    lowest = min(taken["edge"]) / min(taken["bare"]) - 1
    reached = f"{share:+.2%} by the medians, {lowest:+.2%} by the fastest"
    reached += "" if is_quiet else "; not judged: the same build varies by more than the goal"
    what = f"Wall time added to a build of {WORK_SECONDS:.0f} s, {engine} engine"
    return Finding(what, reached, f"{GOAL:.0%}", share <= GOAL if is_quiet else None, _how(taken))


def _fixed(engine: str, taken: dict[str, list[float]]) -> Finding:
    added = statistics.median(one - other for one, other in zip(taken["edge"], taken["bare"], strict=True))
    allowed = GOAL * WORK_SECONDS
    what = f"Seconds added to a build of {SHORT_SECONDS:.0f} s, {engine} engine"
    return Finding(what, f"{added:+.2f} s", f"{allowed:.1f} s, {GOAL:.0%} of {WORK_SECONDS:.0f} s", added <= allowed, _how(taken))


def _how(taken: dict[str, list[float]]) -> str:
    return "; ".join(f"{name} {spread(values)}" for name, values in taken.items())


def bare_command(program: Path, home: Path, image: str) -> Callable[[Run], list[str]]:
    """How a person would start the build program by hand."""
    if not image:
        return lambda run: [sys.executable, str(program / "build" / "run_steps.py"), str(run.folder), "--driver", "local"]
    user = f"{os.getuid()}:{os.getgid()}"
    shared = ["--rm", "--network", "none", "--user", user, "--env", "HOME=/tmp", "--volume", f"{home}:{home}"]
    return lambda run: ["docker", "run", *shared, image, str(run.folder)]


def _taker(home: Path, engine: str, rounds: int, environ: dict[str, str], command: Callable[[Run], list[str]]) -> Callable[[], float]:
    """Times one build; every build is a new request that no cache knows."""

    def take() -> float:
        run = new_run(home / "runs", "build", "bench", lambda folder: _request(home, engine, rounds, folder.name))
        seconds = run_child(command(run), environ, home / "output").seconds
        assert run.state().status == "finished", run.state().problem
        assert not any(step.cached for step in run.state().steps.values())
        return seconds

    return take


def _request(home: Path, engine: str, rounds: int, identity: str) -> dict:
    steps = [{"name": kind, "kind": kind, "options": {"rounds": rounds, "round": identity}, "inputs": {}} for kind in KINDS]
    return {"engine": engine, "recipe": {"name": "bench"}, "cache": str(home / "cache"), "steps": steps}


def _docker(*arguments: str) -> bool:
    """True where the engine did it."""
    return subprocess.run(["docker", *arguments], capture_output=True).returncode == 0
