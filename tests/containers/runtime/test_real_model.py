"""The server with the real library and a really exported model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.runtime.conftest import RUNTIME, Served, chat, events, until

pytestmark = pytest.mark.model

HOME = "home"


@pytest.fixture(scope="module")
def real(exported_model: Path, serving_python: str) -> Iterator[Served]:
    folder = Path(tempfile.mkdtemp(prefix="edge-"))
    (folder / HOME).mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder / HOME)}
    places = ("--model", exported_model, "--adapters", exported_model / "adapters", "--uds", folder / "s")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([serving_python, RUNTIME / "serve.py", *places, "--max-length", "512"], env=environment, stderr=log)
    served = Served(folder, process, folder / "s")
    until(served.is_ready, seconds=120)
    yield served
    for client in served.clients:
        client.close()
    assert served.stop() == 0
    shutil.rmtree(folder)


def test_greedy_answers_are_the_same_each_time_and_streamed_alike(real: Served) -> None:
    first, second = (real.ask("Name three colours.", max_tokens=24).json() for _ in range(2))
    assert first["choices"] == second["choices"]
    streamed = list(events(real.ask("Name three colours.", max_tokens=24, stream=True)))
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in streamed)
    assert text == first["choices"][0]["message"]["content"] != ""
    assert streamed[-1]["usage"]["total_tokens"] == first["usage"]["total_tokens"]


def test_a_seed_makes_sampling_repeatable(real: Served) -> None:
    options = {"temperature": 1.5, "top_k": 0, "max_tokens": 24}
    one, same, other = (real.ask("Tell me a story.", seed=seed, **options).json()["choices"] for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_long_prompt_taken_in_by_chunks_counts_whole(real: Served) -> None:
    short, long = (real.ask(text, max_tokens=1).json()["usage"]["prompt_tokens"] for text in ("word", "word" + " word" * 30))
    assert long - short > 128, "three chunks"
    refused = real.ask("word " * 600)
    assert refused.status_code == 400 and "may be 256" in refused.json()["error"]["message"]


def test_the_end_token_ends_the_answer_and_is_not_shown(real: Served) -> None:
    special = json.dumps(real.ask("What is the capital of France?", max_tokens=100).json())
    assert "<end>" not in special


def test_each_adapter_answers(real: Served) -> None:
    ids = [model["id"] for model in real.client().get("/v1/models").json()["data"]]
    answers = {model: real.client().post("/v1/chat/completions", json=chat("Hello", max_tokens=4) | {"model": model}) for model in ids}
    assert {answer.status_code for answer in answers.values()} == {200}


@pytest.mark.parametrize(
    ("file", "bytes_left", "says"),
    [
        ("model.onnx.data", 1000, "can not be read in full"),
        ("model.onnx", 1000, "model.onnx failed"),
        ("tokenizer.json", 10, "tokenizer"),
        ("genai_config.json", 10, "genai_config.json cannot be read"),
        ("adapters/{adapter}", 1000, "Adapter "),
    ],
)
def test_a_file_that_was_cut_off_is_named_and_ends_it_with_1(
    exported_model: Path, serving_python: str, tmp_path: Path, file: str, bytes_left: int, says: str
) -> None:
    shutil.copytree(exported_model, tmp_path / "model")
    (adapter, *_) = sorted(path.name for path in (exported_model / "adapters").glob("*.onnx_adapter"))
    os.truncate(tmp_path / "model" / file.format(adapter=adapter), bytes_left)
    places = ("--model", tmp_path / "model", "--adapters", tmp_path / "model/adapters", "--uds", tmp_path / "s")
    done = subprocess.run([serving_python, RUNTIME / "serve.py", *places], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr


def test_no_telemetry_is_left_at_home(real: Served) -> None:
    real.ask("Hello", max_tokens=2)
    assert list((real.folder / HOME).rglob("*")) == []
