"""The wall around Docker: an engine that is not there, or does not say a word."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from toolkit.docker_engine import DockerEngine, connect
from toolkit.errors import EngineMissing


@pytest.fixture
def mute_engine(tmp_path: Path) -> Iterator[str]:
    """A socket that takes connections and never answers."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s"))
    listening.listen()
    taken: list[socket.socket] = []
    threading.Thread(target=lambda: _take(listening, taken), daemon=True).start()
    yield f"unix://{tmp_path}/s"
    for held in (listening, *taken):
        held.close()


def _take(listening: socket.socket, taken: list[socket.socket]) -> None:
    while True:
        try:
            taken.append(listening.accept()[0])
        except OSError:
            return


def test_an_engine_that_never_answers_is_given_up(mute_engine, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", mute_engine)
    with pytest.raises(EngineMissing, match="No Docker engine answers here"):
        connect(timeout=1)


@pytest.mark.parametrize("host", ["unix:///nonexistent/docker.sock", "tcp://127.0.0.1:9", "nonsense://"])
def test_an_engine_that_is_not_there_is_told_with_the_way_out(host, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(EngineMissing) as raised:
        connect()
    assert "choose the local engine" in raised.value.hint


@pytest.mark.parametrize(("flavour", "pruned"), [("cuda12", [{"dangling": True, "label": "edge-toolkit.stage=cuda12"}]), ("cpu", [])])
def test_the_gigabytes_of_the_stage_before_a_gpu_image_are_not_left_behind(flavour, pruned, tmp_path):
    asked: list[dict] = []
    builder = SimpleNamespace(build=lambda **_: [{"stream": "done"}])
    client = SimpleNamespace(api=builder, images=SimpleNamespace(prune=asked.append))
    assert list(DockerEngine(client).build(tmp_path, "t", flavour, {"FLAVOUR": flavour}, {})) == ["done"]
    assert asked == pruned
