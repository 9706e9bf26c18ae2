"""The chat template: the server feeds its model the very tokens that Hugging Face's transformers would."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.clients import prompts
from tests.containers.runtime.conftest import RUNTIME

pytestmark = pytest.mark.model


def encoded(python: str, model: Path, conversations: list[prompts.Conversation], folder: Path) -> list[tuple[list[int], list[int]]]:
    """The server's ids and Hugging Face's, of each conversation."""
    asked, out = folder / "asked.json", folder / "ids.json"
    asked.write_text(json.dumps(conversations))
    program = Path(__file__).with_name("encode_both.py")
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([python, program, RUNTIME, model, asked, out], env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def thousand(sample: Path, serving_python: str, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[int], list[int]]]:
    return encoded(serving_python, sample / "model", prompts.conversations(), tmp_path_factory.mktemp("ids"))


def test_a_thousand_conversations_are_the_tokens_that_hugging_face_makes_of_them(thousand: list) -> None:
    different = [number for number, (ours, theirs) in enumerate(thousand) if ours != theirs]
    told = [prompts.conversations()[number] for number in different[:3]]
    assert len(thousand) == prompts.COUNT and not different, f"{len(different)} differ, the first of them: {told}"


def test_the_conversations_are_worth_asking(thousand: list) -> None:
    lengths = sorted(len(theirs) for _, theirs in thousand)
    assert lengths[0] < 40 and lengths[len(lengths) // 2] > 100 and lengths[-1] > 1500
    assert len({tuple(theirs) for _, theirs in thousand}) > 900


def test_what_no_token_stands_for_is_left_out(sample: Path, serving_python: str, tmp_path: Path) -> None:
    """Bytes that the vocabulary lacks: the library says -1, which is no row of any table."""
    texts = ["a\x04b", "\x06\x13\x14\x16\x1d", "\U00040000", "caf\u00e9 \U000bffff!"]
    pairs = encoded(serving_python, sample / "model", [[{"role": "user", "content": text}] for text in texts], tmp_path)
    assert all(min(ours) >= 0 for ours, _ in pairs)
    assert [ours for ours, _ in pairs[:2]] == [theirs for _, theirs in pairs[:2]]
