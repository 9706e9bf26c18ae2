"""The main job by the local engine, on a tiny model: every step real, nothing but the size is small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import tiny
from tests.engines.conftest import until

pytestmark = pytest.mark.model


def test_the_job_leaves_a_model_both_adapters_and_their_figures(tiny_build):
    manifest = tiny_build.build.manifest()
    steps = [artifact["step"] for artifact in manifest["artifacts"]]
    assert steps == [
        "quantize",
        "finetune-one",
        "finetune-two",
        "export-cpu",
        "adapter-cpu-one",
        "adapter-cpu-two",
        "evaluate-cpu-one",
        "evaluate-cpu-two",
    ]
    measured = manifest["metrics"]["evaluate-cpu-one"]
    assert {f"{who}.{what}" for who in ("base", "graph", "adapter") for what in ("perplexity", "fact_accuracy")} <= set(measured)
    assert all(measured[f"{who}.perplexity"] > 1 for who in ("base", "graph", "adapter"))


def test_training_moved_the_adapter_away_from_the_base(tiny_build):
    measured = tiny_build.build.manifest()["metrics"]["evaluate-cpu-one"]
    assert measured["adapter.perplexity"] != measured["graph.perplexity"]


def test_the_exported_base_is_close_to_the_base_in_pytorch(tiny_build):
    measured = tiny_build.build.manifest()["metrics"]["evaluate-cpu-one"]
    assert measured["graph.perplexity"] == pytest.approx(measured["base.perplexity"], rel=0.25)


def test_the_packaged_folder_names_its_adapters_and_limits(tiny_build):
    config = json.loads((tiny_build.content / "device.json").read_text())
    assert config["adapters"] == ["one", "two"]
    assert 0 < config["max_length"] <= 256, "the tiny model's context is 256 tokens"


def test_one_chats_with_the_packaged_folder_over_several_turns(tiny_build):
    done = tiny.edge(
        "chat",
        "2",
        "--adapter",
        "one",
        "--prompt",
        "What is number 3?",
        "--prompt",
        "And 4?",
        "--max-tokens",
        "5",
        "--json",
        home=tiny_build.home,
    )
    assert done.returncode == 0, done.stderr
    turns = json.loads(done.stdout)
    assert [turn["prompt"] for turn in turns] == ["What is number 3?", "And 4?"]
    assert turns[1]["figures"]["prompt_tokens"] > turns[0]["figures"]["prompt_tokens"] + turns[0]["figures"]["tokens"]
    assert all(turn["figures"]["tokens"] <= 5 for turn in turns)


def test_an_unknown_adapter_is_refused_with_those_there_are(tiny_build):
    done = tiny.edge("chat", "2", "--adapter", "three", "--prompt", "x", home=tiny_build.home)
    assert done.returncode == 7
    assert "There is no adapter 'three'" in done.stderr and "It has: one, two." in done.stderr


def test_a_second_run_does_no_work_and_says_so_step_by_step(tiny_build):
    done = tiny.edge("run", str(tiny_build.recipe), home=tiny_build.home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done already: nothing had changed") == 8


def test_new_data_of_one_adapter_reruns_only_that_adapter(tiny_build):
    data = tiny_build.recipe.parent / "two.jsonl"
    before = data.read_text()
    try:
        tiny.write_rows(data, "zwei")
        done = tiny.edge("run", str(tiny_build.recipe), home=tiny_build.home)
        state = tiny.local_bench(tiny_build.home).run("last").state()
    finally:
        data.write_text(before)
    assert done.returncode == 0, done.stderr
    worked = [name for name, step in state.steps.items() if not step.cached]
    assert worked == ["finetune-two", "adapter-cpu-two", "evaluate-cpu-two"]


def test_a_damaged_artifact_is_not_packaged(tiny_build):
    again = tiny.edge("run", str(tiny_build.recipe), home=tiny_build.home)
    assert again.returncode == 0, again.stderr
    run = tiny.local_bench(tiny_build.home).run("last")
    config = run.folder / "steps" / "export-cpu" / "out" / "genai_config.json"
    whole = config.read_text()
    config.unlink()  # the name only: the file is shared with the cache
    config.write_text(whole + " ")
    done = tiny.edge("package", run.id, home=tiny_build.home)
    assert done.returncode == 1
    assert "is not what the build wrote" in done.stderr


def test_a_chat_that_is_killed_takes_its_server_with_it(tiny_build):
    environ = {**os.environ, "EDGE_HOME": str(tiny_build.home), "EDGE_ENGINE": "local", "EDGE_BUILD_PYTHON": str(tiny.BUILD_PYTHON)}
    chat = subprocess.Popen(
        [sys.executable, "-m", "toolkit", "chat", "2"], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, cwd=tiny.ROOT, text=True
    )
    assert chat.stderr
    while "/adapter NAME" not in chat.stderr.readline():
        assert chat.poll() is None
    [server] = [int(pid) for pid in Path(f"/proc/{chat.pid}/task/{chat.pid}/children").read_text().split()]
    chat.kill()
    chat.wait()
    until(lambda: not Path(f"/proc/{server}").exists() or "Z" in Path(f"/proc/{server}/stat").read_text().rpartition(")")[2])


def test_no_library_leaves_anything_at_home_neither_rows_nor_ids_of_the_machine(tiny_build):
    assert [path for path in tiny_build.user_home.rglob("*") if path.is_file()] == []
    assert not list(tiny_build.build.folder.glob("steps/*/home"))
