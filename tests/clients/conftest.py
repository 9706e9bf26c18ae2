"""What the clients talk to: one real server with the sample model for all of them, and stand-ins where the model does not matter."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.clients.live import Live, real_server, stub_server
from tests.sample_job import SampleJob


@pytest.fixture(scope="session")
def sample(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample model as it goes into an image: model/, adapters/ and device.json. EDGE_SAMPLE names one that is there already."""
    if ready := os.environ.get("EDGE_SAMPLE"):
        return Path(ready)
    job: SampleJob = request.getfixturevalue("sample_job")
    folder = tmp_path_factory.mktemp("sample")
    job.put_content(folder)
    return folder


@pytest.fixture(scope="session")
def server(sample: Path, serving_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The real server, ready. Whoever uses it leaves it idle."""
    with real_server(serving_python, sample, tmp_path_factory.mktemp("server")) as live:
        yield live


@pytest.fixture
def start_stub(tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Start a server with the stand-in: `start_stub("--max-length", "50", STUB_DELAY="0.1")`."""
    with ExitStack() as started:

        def start(*flags: str, **environment: str) -> Live:
            folder = tmp_path / str(len(list(tmp_path.iterdir())))
            folder.mkdir()
            return started.enter_context(stub_server(folder, *flags, **environment))

        yield start


@pytest.fixture
def start_real(sample: Path, serving_python: str, tmp_path: Path) -> Iterator[Callable[..., Live]]:
    """Start a real server of one's own, to be treated badly."""
    with ExitStack() as started:

        def start(*flags: str, **environment: str) -> Live:
            folder = tmp_path / f"real-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return started.enter_context(real_server(serving_python, sample, folder, *flags, **environment))

        yield start


@pytest.fixture
def own_sample(sample: Path, tmp_path: Path) -> Path:
    """A copy of the sample to be spoilt."""
    return Path(shutil.copytree(sample, tmp_path / "sample", copy_function=os.link))
