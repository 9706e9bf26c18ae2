"""Chat servers for real: they end with their starter however it ends, and tell how they ended themselves."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.containers.runtime.conftest import RUNTIME, STUB, make_stub_model
from tests.engines.conftest import until
from toolkit import settings as settings_module
from toolkit.core.engine import LABEL
from toolkit.core.images import OwnImage
from toolkit.core.serving import Limits, Serving, serving
from toolkit.errors import ChatError, ModelOutOfMemory, ToolkitError
from toolkit.settings import CHECKOUT

HOLDER = """\
import sys
from toolkit.core.serving import start_serving
from {module} import {engine}
served = start_serving({engine}({arguments}), sys.argv[1])
served.wait_until_ready()
print(served.server.handle, served.server.socket.parent, flush=True)
sys.stdin.read()
"""
"""A front end that starts a server and then only waits."""
DOCKERFILE = """\
FROM {base}
COPY stub /opt/stub
COPY content /
ENV PYTHONPATH=/opt/stub:/opt/edge/packages STUB_ALIVE=/run/edge
ENTRYPOINT ["/usr/bin/python3", "-S", "-c", "{start}", "/opt/edge/server/serve.py"]
LABEL edge-toolkit.test=yes
"""
START = (
    "import genai, runpy, sys; del sys.argv[0]; sys.path.insert(0, '/opt/edge/server'); runpy.run_path(sys.argv[0], run_name='__main__')"
)
"""The stub is loaded before the server looks for its own module of that name."""


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A packaged folder whose model is the stub."""
    folder = tmp_path / "content"
    make_stub_model(folder)
    (folder / "device.json").write_text(json.dumps({"format": 1, "device": "cpu", "max_length": 200, "adapters": ["museum", "travel"]}))
    return folder


@pytest.fixture
def local(content: Path, monkeypatch: pytest.MonkeyPatch):
    """The local engine with the stub in place of the library."""
    from toolkit.local_engine import LocalEngine

    chosen = {"EDGE_BUILD_PYTHON": sys.executable, "EDGE_CONTAINERS": str(RUNTIME.parent), "EDGE_HOME": str(content.parent)}
    for name, value in {**chosen, "PYTHONPATH": f"{STUB}:{CHECKOUT}", "STUB_ALIVE": str(content / "alive")}.items():
        monkeypatch.setenv(name, value)
    return LocalEngine(settings_module.load())


@pytest.fixture(scope="module")
def docker_host(docker_engine_available: str, base_image: str):
    from toolkit.docker_engine import DockerEngine, connect

    return DockerEngine(connect())


@pytest.fixture(scope="module")
def stub_image(docker_host, base_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The runtime image with the stub in place of the library."""
    import docker

    settings = settings_module.load({"EDGE_BASE_IMAGE": base_image, "EDGE_HOME": str(tmp_path_factory.mktemp("home"))})
    runtime = OwnImage("runtime", "cpu")
    list(runtime.ensure(settings, docker_host))
    context = tmp_path_factory.mktemp("context")
    shutil.copytree(STUB, context / "stub", ignore=shutil.ignore_patterns("__pycache__"))
    make_stub_model(context / "content")
    shutil.rmtree(context / "content" / "alive")
    (context / "Dockerfile").write_text(DOCKERFILE.format(base=runtime.tag(settings), start=START))
    client, tag = docker.from_env(), f"edge-toolkit/test-chat:{os.getpid()}"
    client.images.build(path=str(context), tag=tag, rm=True, forcerm=True)
    yield tag
    client.images.remove(tag, force=True, noprune=True)


def hold(engine: str, target: str) -> tuple[subprocess.Popen[str], str, Path]:
    """Start a front end with a server; returns it, the server's handle and folder."""
    module, arguments = ("toolkit.docker_engine", "connect()") if engine == "DockerEngine" else ("toolkit.local_engine", "load()")
    more = "from toolkit.docker_engine import connect\n" if engine == "DockerEngine" else "from toolkit.settings import load\n"
    program = more + HOLDER.format(module=module, engine=engine, arguments=arguments)
    argv = [sys.executable, "-c", program, target]
    held = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
    handle, folder = held.stdout.readline().split()
    return held, handle, Path(folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_a_local_server_ends_with_its_starter(local, content: Path, number: int) -> None:
    held, handle, _ = hold("LocalEngine", str(content))
    held.send_signal(number)
    held.wait()
    until(lambda: not Path(f"/proc/{handle}").exists())


@pytest.mark.engine
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_a_container_ends_with_its_starter_and_the_next_start_sweeps_it(docker_host, stub_image: str, number: int) -> None:
    held, handle, folder = hold("DockerEngine", stub_image)
    client = docker_host._client
    assert client.containers.get(handle).status == "running" and folder.exists()
    held.send_signal(number)
    held.wait()
    until(lambda: client.containers.get(handle).status == "exited")
    with serving(docker_host, stub_image):
        assert handle not in {container.id for container in client.containers.list(all=True)}
    assert not folder.exists()


@pytest.mark.engine
def test_a_server_of_a_living_starter_is_left_alone(docker_host, stub_image: str) -> None:
    held, handle, _ = hold("DockerEngine", stub_image)
    with serving(docker_host, stub_image):
        pass
    assert docker_host._client.containers.get(handle).status == "running"
    held.kill()
    held.wait()
    until(lambda: docker_host._client.containers.get(handle).status == "exited")


def answer(served: Serving, text: str) -> str:
    return "".join(getattr(piece, "text", "") for piece in served.conversation().ask(text))


@pytest.mark.engine
def test_a_memory_limit_that_is_too_small_is_named_with_what_would_do(docker_host, stub_image: str) -> None:
    with serving(docker_host, stub_image, Limits(memory_mb=200), needed_mb=1400) as served:
        assert answer(served, "say: hello") == "hello "
        with pytest.raises(ModelOutOfMemory) as problem:
            answer(served, "say: half an answer gulp")
        assert "its limit of 200 MB was too small" in problem.value.message
        assert "need about 1400 MB" in problem.value.hint
        ended = docker_host.ended(served.server)
        assert ended.out_of_memory and ended.code == 137


@pytest.mark.engine
def test_a_container_that_is_removed_is_told(docker_host, stub_image: str) -> None:
    with serving(docker_host, stub_image) as served:
        words = served.conversation().ask("say: a pause")
        assert next(words).text == "a "
        docker_host._client.containers.get(served.server.handle).remove(force=True)
        with pytest.raises(ChatError, match="its container was removed"):
            list(words)


@pytest.mark.engine
def test_a_chat_container_may_do_next_to_nothing(docker_host, stub_image: str) -> None:
    with serving(docker_host, stub_image, Limits(300, 1)) as served:
        attributes = docker_host._client.containers.get(served.server.handle).attrs
        host = attributes["HostConfig"]
        assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
        assert (host["Memory"], host["NanoCpus"]) == (300 << 20, 1_000_000_000)
        assert not attributes["Config"]["User"].startswith("0:") and attributes["Config"]["Labels"][f"{LABEL}.kind"] == "server"


@pytest.fixture
def foreign_image(docker_host, tmp_path: Path) -> Iterator[str]:
    """An image whose program is for a processor that nobody has here."""
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 0x1234, 1, 0x400078, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    (tmp_path / "serve").write_bytes(header + bytes(200))
    (tmp_path / "serve").chmod(0o755)
    (tmp_path / "Dockerfile").write_text('FROM scratch\nCOPY serve /\nENTRYPOINT ["/serve"]\nLABEL edge-toolkit.test=yes\n')
    tag = f"edge-toolkit/test-foreign:{os.getpid()}"
    docker_host._client.images.build(path=str(tmp_path), tag=tag, rm=True, forcerm=True)
    yield tag
    docker_host._client.images.remove(tag, force=True)


@pytest.mark.engine
def test_an_image_for_another_processor_is_told(docker_host, foreign_image: str) -> None:
    with pytest.raises(ToolkitError) as problem, serving(docker_host, foreign_image):
        pass
    assert "exec format error" in problem.value.message and "another kind of processor" in problem.value.hint


def test_a_server_that_asks_for_a_key_is_talked_with(local, content: Path) -> None:
    with serving(local, str(content), api_key="sesame") as served:
        assert answer(served, "say: open") == "open "
        with pytest.raises(ChatError, match="asks for a key"):
            answer(replace(served, server=replace(served.server, api_key="")), "say: open")


def test_a_server_says_what_it_runs_on(local, content: Path) -> None:
    with serving(local, str(content)) as served:
        assert served.provider() == "cpu"


def test_a_server_made_for_a_gpu_tells_what_is_missing(local, content: Path) -> None:
    (content / "device.json").write_text(json.dumps({"format": 3, "accelerator": "cuda13", "adapters": []}))
    with pytest.raises(ChatError, match="with exit code 3") as problem, serving(local, str(content)):
        pass
    assert "EDGE_ALLOW_CPU=1" in problem.value.message and "edge doctor" in problem.value.hint


def test_a_killed_local_server_says_so(local, content: Path) -> None:
    with serving(local, str(content)) as served:
        words = served.conversation().ask("say: a pause")
        assert next(words).text == "a "
        os.kill(int(served.server.handle), signal.SIGKILL)
        with pytest.raises(ChatError, match="exit code -9: it was killed"):
            list(words)


def test_a_server_without_a_model_tells_its_last_words(local, content: Path) -> None:
    (content / "model" / "model.onnx").unlink()
    with pytest.raises(ChatError, match="Is the export complete"), serving(local, str(content)):
        pass
