"""A server whose adapters are graphs of their own: named as ever, and no more of them in memory than fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.containers.runtime.conftest import Served, chat, make_stub_model, until

Start = Callable[..., Served]
GRAPHS = {"": "model.onnx", "museum": "merged-museum.onnx", "travel": "merged-travel.onnx"}


@pytest.fixture
def merged(start: Start, tmp_path: Path) -> Callable[..., Served]:
    def serve(graphs: dict[str, str] = GRAPHS, in_memory: int = 1, missing: str = "") -> Served:
        make_stub_model(tmp_path / "merged")
        for file in graphs.values():
            if file != missing:
                (tmp_path / "merged" / "model" / file).touch()
        device = {"format": 2, "adapters": [name for name in graphs if name], "graphs": graphs, "graphs_in_memory": in_memory}
        (tmp_path / "device.json").write_text(json.dumps(device))
        served = start("--model", str(tmp_path / "merged" / "model"), "--device-file", str(tmp_path / "device.json"))
        until(served.is_ready)
        return served

    return serve


def answer(served: Served, model: str) -> str:
    asked = chat("say: yes") | ({"model": model} if model else {})
    if not model:
        del asked["model"]
    return served.client().post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"]


def in_memory(served: Served) -> list[str]:
    return sorted(path.name.removesuffix(".loaded") for path in served.folder.glob("*.loaded"))


def test_base_and_adapters_have_the_names_they_have_with_one_graph(merged):
    served = merged()
    assert [model["id"] for model in served.client().get("/v1/models").json()["data"]] == ["base", "base:museum", "base:travel"]
    assert answer(served, "base") == "yes "
    assert answer(served, "base:travel") == "<merged-travel.onnx> yes "
    assert answer(served, "base:museum") == "<merged-museum.onnx> yes "
    assert answer(served, "base") == "yes "


def test_a_graph_makes_room_before_the_next_is_loaded(merged):
    served = merged(in_memory=1)
    for model, file in (("base", "model.onnx"), ("base:travel", "merged-travel.onnx"), ("base:museum", "merged-museum.onnx")):
        answer(served, model)
        until(lambda file=file: in_memory(served) == [file])


def test_as_many_graphs_stay_as_fit_and_the_longest_unused_goes(merged):
    served = merged(in_memory=2)
    assert in_memory(served) == ["merged-museum.onnx", "model.onnx"], "both were warmed up"
    answer(served, "base")
    answer(served, "base:travel")
    until(lambda: in_memory(served) == ["merged-travel.onnx", "model.onnx"])


def test_without_a_base_the_first_adapter_answers_who_names_none(merged):
    served = merged({"museum": "merged-museum.onnx", "travel": "merged-travel.onnx"})
    assert answer(served, "") == "<merged-museum.onnx> yes "
    refused = served.client().post("/v1/chat/completions", json=chat("say: yes"))
    assert refused.status_code == 404
    assert "There is: base:museum, base:travel." in refused.json()["error"]["message"]


def test_a_graph_that_does_not_load_fails_its_request_and_nothing_else(merged):
    served = merged(missing="merged-travel.onnx")
    failed = served.client().post("/v1/chat/completions", json=chat("say: yes") | {"model": "base:travel"})
    assert failed.status_code == 500 and "merged-travel.onnx" in failed.json()["error"]["message"]
    assert answer(served, "base:museum") == "<merged-museum.onnx> yes "
