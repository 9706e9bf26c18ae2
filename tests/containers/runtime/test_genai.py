"""The binding says what the library's own Python package says, token for token, and gives back what it took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.containers.runtime.conftest import RUNTIME

pytestmark = pytest.mark.model

SPEAK = Path(__file__).with_name("speak.py")
BEGIN = """\
import sys
import genai as og
folder = sys.argv[1]
model = og.Model(og.Config(folder))
tokenizer = og.Tokenizer(model)
"""


def run(python: str, *arguments: object) -> str:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(RUNTIME), "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([python, *map(str, arguments)], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def said(serving_python: str, exported_model: Path) -> dict[str, dict]:
    """What each of the two said of one model."""
    return {module: json.loads(run(serving_python, SPEAK, module, exported_model)) for module in ("genai", "onnxruntime_genai")}


SUBJECTS = ("model", "texts", "template", "other template", "greedy", "sampled", "rewound", "side by side", "errors")


@pytest.mark.parametrize("subject", SUBJECTS)
def test_says_what_the_librarys_own_package_says(said: dict[str, dict], subject: str) -> None:
    assert said["genai"][subject] == said["onnxruntime_genai"][subject]


def test_the_two_were_asked_something(said: dict[str, dict]) -> None:
    assert set(SUBJECTS) == set(said["genai"])
    answers = said["genai"]["greedy"]
    assert len(answers) == 3 and all(len(tokens) > 10 for _, _, tokens in answers.values())
    assert len({json.dumps(logits) for _, logits, _ in answers.values()}) == 3, "each adapter computes something of its own"
    assert not {"", "no error"} & set(said["genai"]["errors"].values())


def test_needs_neither_numpy_nor_the_package_itself(serving_python: str, exported_model: Path) -> None:
    loaded = run(serving_python, "-c", BEGIN + "print(*sys.modules)", exported_model).split()
    assert "genai" in loaded and not {"numpy", "onnxruntime_genai", "onnxruntime"} & set(loaded)


def test_a_generation_lets_go_of_its_adapter_when_it_is_gone(serving_python: str, exported_model: Path) -> None:
    program = """
import glob
adapters = og.Adapters(model)
adapters.load(glob.glob(folder + "/adapters/*.onnx_adapter")[0], "travel")
params = og.GeneratorParams(model)
params.set_search_options(max_length=20)
generator = og.Generator(model, params)
generator.set_active_adapter(adapters, "travel")
try:
    adapters.unload("travel")
except RuntimeError as exc:
    print(exc)
del generator
adapters.unload("travel")
"""
    assert "Adapter still in use" in run(serving_python, "-c", BEGIN + program, exported_model)


def test_odd_texts_neither_kill_the_server_nor_are_cut_short(serving_python: str, exported_model: Path) -> None:
    program = """
print(tokenizer.decode(tokenizer.encode("🙂")[:1]).encode(), tokenizer.decode([]).encode())
try:
    tokenizer.encode("one\\0two")
except ValueError as exc:
    print(exc)
"""
    assert run(serving_python, "-c", BEGIN + program, exported_model).splitlines() == [f"{'�'.encode()} b''", "embedded null character"]


def test_texts_can_be_taken_apart_and_put_together_in_many_threads_at_once(serving_python: str, exported_model: Path) -> None:
    program = """
from concurrent.futures import ThreadPoolExecutor
texts = [f"Sentence {number} of größer 漢字 🙂" * 5 for number in range(200)]
def there_and_back(text):
    tokens, stream = tokenizer.encode(text), tokenizer.create_stream()
    return tokens, "".join(stream.decode(token) for token in tokens)
alone = [there_and_back(text) for text in texts]
with ThreadPoolExecutor(4) as pool:
    print(all(list(pool.map(there_and_back, texts)) == alone for _ in range(5)), [text for _, text in alone] == texts)
"""
    assert run(serving_python, "-c", BEGIN + program, exported_model) == "True True\n"


def test_says_which_package_is_missing() -> None:
    environment = {"PYTHONPATH": str(RUNTIME)}
    done = subprocess.run([sys.executable, "-S", "-c", "import genai"], env=environment, capture_output=True, text=True)
    assert "ImportError: The package onnxruntime_genai is not installed." in done.stderr
