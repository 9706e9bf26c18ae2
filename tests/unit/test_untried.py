"""An image for a GPU that is packaged where there is none: it is not tried, and everybody is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.fakes import FakeImages
from toolkit.core import packaging, results
from toolkit.core.device import find
from toolkit.core.engine import Image
from toolkit.core.hoststeps import Job
from toolkit.core.run import Run, new_run
from toolkit.core.targets import packaged
from toolkit.core.untried import UNTRIED, told_by, why_untried
from toolkit.core.workbench import Workbench
from toolkit.docker_engine import DockerEngine
from toolkit.settings import Settings

DEVICES = Path(__file__).parents[2] / "data" / "devices"


class Images(FakeImages):
    """An engine with these runtimes."""

    runtimes: tuple[str, ...] = ("runc",)

    def facts(self):
        return replace(super().facts(), runtimes=self.runtimes)


@pytest.fixture
def images(monkeypatch) -> Images:
    monkeypatch.delenv("EDGE_ALLOW_CPU", raising=False)
    return Images()


@pytest.fixture
def bench(images, tmp_path) -> Workbench:
    return Workbench(Settings(home=tmp_path), lambda _: None, lambda _: None, lambda: images, lambda: None, lambda *_: None)


def device(name: str):
    return find(DEVICES, name)


def test_an_image_for_the_cpu_is_tried_everywhere(bench):
    assert why_untried(bench, device("cpu"), "docker") == "" == why_untried(bench, device("cpu"), "local")


def test_an_image_for_a_gpu_is_tried_where_the_engine_can_give_one(bench, images):
    assert why_untried(bench, device("gpu-cuda12"), "docker") == "not tried on a GPU: the engine has no GPU runtime"
    images.runtimes = ("nvidia", "runc")
    assert why_untried(bench, device("gpu-cuda12"), "docker") == ""


def test_who_allows_the_cpu_has_it_tried_there(bench, monkeypatch):
    monkeypatch.setenv("EDGE_ALLOW_CPU", "1")
    assert why_untried(bench, device("gpu-cuda13"), "docker") == ""


def smoke(bench: Workbench, tmp_path: Path) -> Run:
    options = {"device": "gpu-cuda12", "engine": "docker", "question": "Why?"}
    run = new_run(
        tmp_path / "runs",
        "package",
        {"name": "travel"},
        lambda _: {"engine": "docker", "recipe": {}, "steps": [{"name": "smoke", "kind": "smoke", "options": options}]},
    )
    assert packaging.smoke(Job(bench, run, "smoke", options)) == {}
    return run


def test_the_smoke_step_passes_and_says_that_nothing_was_asked(bench, tmp_path):
    run = smoke(bench, tmp_path)
    assert told_by(run) == "not tried on a GPU: the engine has no GPU runtime"
    assert results.smoke_answers(run, run.state()) == ("Not tried on a GPU: the engine has no GPU runtime.", [])


def test_the_list_of_images_says_it_of_every_image_that_bears_the_label(bench, images):
    for name, labels in {"tried": {}, "untried": {UNTRIED: "not tried on a GPU: why"}}.items():
        config = {"edge-toolkit.kind": "image", "edge-toolkit.device": "gpu-cuda12", **labels}
        images.known[name] = Image(f"sha256:{name}", (name,), 1, "", config)
    assert {row.reference: row.untried for row in packaged(bench)} == {"tried": "", "untried": "not tried on a GPU: why"}


def test_of_an_image_that_was_tried_nothing_is_said(tmp_path):
    (tmp_path / "smoke.json").write_text('{"question": "Why?", "answers": {}}')
    assert told_by(SimpleNamespace(folder=tmp_path)) == ""


# -- the engine gives the GPU to those that are for it ------------------------------------------------------------------


class Client:
    """A Docker client that notes how a container was asked for."""

    def __init__(self, flavour: str, *runtimes: str) -> None:
        attributes = {
            "Size": 1,
            "Created": "",
            "Config": {"Labels": {"edge-toolkit.flavour": flavour}},
            "RootFS": {},
            "Os": "",
            "Architecture": "",
        }
        image = SimpleNamespace(id="sha256:i", tags=["i"], attrs=attributes)
        self.images = SimpleNamespace(get=lambda _: image)
        self.containers = SimpleNamespace(list=lambda **_: [], create=self._create)
        self.api = SimpleNamespace(attach_socket=lambda *_, **__: None)
        self.info = lambda: {"Driver": "", "DockerRootDir": "", "NCPU": 1, "MemTotal": 1, "Runtimes": dict.fromkeys(runtimes)}
        self.version = lambda: {"Version": "", "ApiVersion": ""}
        self.asked: dict = {}

    def _create(self, *_, **asked):
        self.asked = asked
        return SimpleNamespace(id="c", start=lambda: None)


def gpus_of(client: Client, folder: Path) -> list:
    DockerEngine(client).serve("i", folder)
    return client.asked["device_requests"] or []


def test_a_chat_with_an_image_for_a_gpu_is_given_every_gpu(tmp_path, images):
    (request,) = gpus_of(Client("cuda12", "nvidia"), tmp_path)
    assert request["Count"] == -1 and request["Capabilities"] == [["gpu"]]
    assert gpus_of(Client("cpu", "nvidia"), tmp_path) == []


def test_without_a_gpu_runtime_it_is_asked_for_all_the_same_so_that_the_engine_refuses(tmp_path, images):
    assert gpus_of(Client("cuda13"), tmp_path)


def test_who_allows_the_cpu_is_not_refused_and_the_server_is_told(tmp_path, images, monkeypatch):
    monkeypatch.setenv("EDGE_ALLOW_CPU", "1")
    client = Client("cuda12")
    assert gpus_of(client, tmp_path) == [] and client.asked["environment"]["EDGE_ALLOW_CPU"] == "1"
    assert gpus_of(Client("cuda12", "nvidia"), tmp_path)
