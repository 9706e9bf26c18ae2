"""The engines of the contract: the fake, the local one, and Docker where one answers. The build program is the real one."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeEngine
from tests.services.fixtures import base_image, docker_engine_available  # noqa: F401  fixtures
from toolkit import settings as settings_module
from toolkit.core import events as ev
from toolkit.core.images import SHARED
from toolkit.core.run import Run, new_run

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("first", "second", "third")


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait for a condition, never for a time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `containers` folder whose build program is ours and whose steps are stubs."""
    containers = tmp_path_factory.mktemp("program") / "containers"
    build = containers / "build"
    build.mkdir(parents=True)
    for path in sorted((ROOT / "containers" / "build").glob("*.py")):
        if not path.name.startswith("step_") or path.name in ("step_io.py", "step_key.py"):
            shutil.copyfile(path, build / path.name)
    for shared in SHARED:
        shutil.copyfile(ROOT / "toolkit" / "core" / shared, build / shared)
    for kind in KINDS:
        shutil.copyfile(Path(__file__).with_name("stub_step.py"), build / f"step_{kind}.py")
    for folder in (containers.parent, containers, build):
        folder.chmod(0o755)
    return containers


DOCKERFILE = """\
FROM {base}
RUN command -v python3 || {{ apt-get update && apt-get install -y --no-install-recommends python3; }}
COPY containers/build /opt/build
ENV PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["python3", "/opt/build/run_steps.py"]
"""


@pytest.fixture(scope="session")
def docker_build_image(program: Path, base_image: str) -> Iterator[str]:  # noqa: F811
    """The stub program as an image."""
    from toolkit.docker_engine import connect

    client, tag = connect(), "edge-toolkit/test-build:contract"
    (program.parent / "Dockerfile").write_text(DOCKERFILE.format(base=base_image))
    client.images.build(path=str(program.parent), tag=tag, rm=True, forcerm=True)
    yield tag
    client.images.remove(tag, force=True)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def local(program: Path, home: Path):
    from toolkit.local_engine import LocalEngine

    chosen = replace(settings_module.load({}), home=home, engine="local", build_python=Path(sys.executable), containers=program)
    return LocalEngine(chosen)


@pytest.fixture
def docker_engine(docker_build_image: str, home: Path):
    from toolkit.docker_engine import BuildImage, DockerEngine, connect

    (home / "cache").mkdir(parents=True, exist_ok=True)
    return DockerEngine(connect(), build_image=lambda: BuildImage(docker_build_image), mounts={str(home / "cache"): True})


@pytest.fixture
def small_docker_engine(docker_build_image: str, home: Path):
    """Build containers of 200 MB."""
    from toolkit.docker_engine import BuildImage, DockerEngine, connect

    (home / "cache").mkdir(parents=True, exist_ok=True)
    return DockerEngine(
        connect(), build_image=lambda: BuildImage(docker_build_image), mounts={str(home / "cache"): True}, build_memory_mb=200
    )


class PlayedFake(FakeEngine):
    """The fake, playing the stub steps of a run by itself in a thread, as the real drivers do in processes."""

    def start(self, run: Run, lock: int) -> None:
        super().start(run, lock)
        threading.Thread(target=self._play, args=(run, len(self.starts)), daemon=True).start()

    def _play(self, run: Run, start: int) -> None:
        for step in run.request["steps"]:
            name, options = step["name"], step["options"]
            self.says(run, ev.StepStarted(step=name))
            if gate := options.get("wait_for"):
                (run.folder / f"{name}.pid").write_text("0")
                while self._is_driving(run, start) and not Path(gate).exists():
                    time.sleep(0.01)
            if not self._is_driving(run, start):
                return  # stopped meanwhile; another driver may be at it
            if options.get("fail"):
                self.says(run, ev.StepFailed(step=name, error=options["fail"], hint="Do it better.", exit_code=3))
                return self.dies(run, 1)
            self.says(run, ev.StepFinished(step=name, seconds=0))
        self.says(run, ev.RunFinished())
        self.dies(run, 0)

    def _is_driving(self, run: Run, start: int) -> bool:
        return run.id in self.alive and len(self.starts) == start


@pytest.fixture(params=["fake", "local", pytest.param("docker", marks=pytest.mark.engine)])
def any_engine(request: pytest.FixtureRequest):
    return PlayedFake() if request.param == "fake" else request.getfixturevalue("local" if request.param == "local" else "docker_engine")


@pytest.fixture(params=["local", pytest.param("docker", marks=pytest.mark.engine)])
def real_engine(request: pytest.FixtureRequest):
    return request.getfixturevalue("local" if request.param == "local" else "docker_engine")


@pytest.fixture
def make_run(home: Path):
    """Makes a run of three stub steps; keyword arguments are the options of each kind."""
    made: list[Run] = []

    def make(**options: dict) -> Run:
        steps = [{"name": kind, "kind": kind, "options": options.get(kind, {}), "inputs": {}} for kind in KINDS]
        (home / "cache").mkdir(parents=True, exist_ok=True)
        made.append(
            new_run(
                home / "runs",
                "build",
                "drill",
                lambda _: {"engine": "local", "recipe": {"name": "drill"}, "cache": str(home / "cache"), "steps": steps},
            )
        )
        return made[-1]

    return make


@pytest.fixture
def gate(home) -> Path:
    """A file that the second step waits for; every engine sees it."""
    (home / "cache").mkdir(parents=True, exist_ok=True)
    return home / "cache" / "gate"
