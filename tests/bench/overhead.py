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
from toolkit.core.run import Run, new_run

KINDS = ("first", "second", "third")
WORK_SECONDS = 20.0
"""Of one build, all its steps together."""
GOAL = 0.02
IMAGE = "edge-toolkit/bench-build:overhead"


def measure(options: Options) -> list[Finding]:
    program = build_program(options.work / "program")
    rounds = _calibrated_rounds()
    findings = [_compared(options, program, rounds, "local", "")]
    if state().get("base_image") and _docker("version"):
        findings.append(_in_docker(options, program, rounds))
    return findings


def _in_docker(options: Options, program: Path, rounds: int) -> Finding:
    (program.parent / "Dockerfile").write_text(DOCKERFILE.format(base=state()["base_image"]))
    if not _docker("build", "--network", "host", "--tag", IMAGE, str(program.parent)):
        return Finding("Wall time added, docker engine", "not measured: the image of the stub program could not be built")
    try:
        return _compared(options, program, rounds, "docker", IMAGE)
    finally:
        _docker("image", "rm", "--force", IMAGE)


def build_program(folder: Path) -> Path:
    """A `containers` folder with the real build program, whose steps only work the processor."""
    build = folder / "containers" / "build"
    build.mkdir(parents=True)
    for path in sorted((ROOT / "containers" / "build").glob("*.py")):
        if not path.name.startswith("step_") or path.name in ("step_io.py", "step_key.py"):
            shutil.copyfile(path, build / path.name)
    shutil.copyfile(ROOT / "toolkit" / "core" / "events.py", build / "events.py")
    for kind in KINDS:
        shutil.copyfile(Path(__file__).with_name("cpu_step.py"), build / f"step_{kind}.py")
    return build.parent


def _calibrated_rounds() -> int:
    """Rounds of a block of a step, so that a build takes about `WORK_SECONDS`."""
    trial = 200_000
    began = time.monotonic()
    hashlib.pbkdf2_hmac("sha256", b"edge", b"toolkit", trial)
    blocks = 40 * len(KINDS)
    return int(trial * WORK_SECONDS / blocks / (time.monotonic() - began))


def _compared(options: Options, program: Path, rounds: int, engine: str, image: str) -> Finding:
    home = options.work / engine
    (home / "cache").mkdir(parents=True)
    environ = clean_environ(
        home, EDGE_ENGINE=engine, EDGE_CONTAINERS=str(program), EDGE_BUILD_PYTHON=sys.executable, EDGE_BUILD_IMAGE=image
    )
    measured = {
        "bare": _taker(home, engine, rounds, environ, bare_command(program, home, image)),
        "edge": _taker(home, engine, rounds, environ, lambda run: [EDGE, "resume", run.id]),
    }
    taken = interleaved(measured, options.repeat)
    share = overhead(taken["edge"], taken["bare"])
    added = statistics.median(one - other for one, other in zip(taken["edge"], taken["bare"], strict=True))
    how = f"bare {spread(taken['bare'])}; edge {spread(taken['edge'])}"
    return Finding(
        f"Wall time added to a build of {WORK_SECONDS:.0f} s, {engine} engine",
        f"{share:+.2%} ({added:+.2f} s)",
        f"{GOAL:.0%}",
        share <= GOAL,
        how,
    )


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
