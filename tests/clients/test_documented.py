"""The command lines and the program that the README gives to people, run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.live import Live
from tests.tiny import ROOT

pytestmark = pytest.mark.model

ADDRESS = "http://127.0.0.1:8080"
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str, word: str) -> list[str]:
    """Code of the README in a language, with a word in it."""
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [block for block in found if word in block]


def commands() -> list[str]:
    """Each call of curl, with the lines that it goes on over."""
    lines = "\n".join(blocks("sh", "curl ")).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("curl ")]


def test_the_readme_shows_how_to_ask_for_models_a_chat_and_a_stream() -> None:
    told = "\n".join(commands())
    assert "/v1/models" in told and "/v1/chat/completions" in told and "stream" in told
    assert len(blocks("python", "openai")) == 1


@pytest.mark.parametrize("command", commands())
def test_curl_does_what_the_readme_says(server: Live, command: str) -> None:
    asked = command.replace(ADDRESS, server.url)
    assert asked != command, "the README's server listens where `edge serve` does"
    done = subprocess.run(["bash", "-c", f"{asked} --silent --show-error --fail"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr
    assert '"error"' not in done.stdout


def test_the_program_with_the_openai_package_does_what_the_readme_says(server: Live, tmp_path: Path) -> None:
    [program] = blocks("python", "openai")
    (tmp_path / "program.py").write_text(program.replace(ADDRESS, server.url))
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, tmp_path / "program.py"], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
