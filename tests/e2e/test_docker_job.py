"""The main job by Docker: the sample model from recipe to a pushed image, on a real engine and a real registry."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from tests import tiny
from tests.engines.conftest import until
from tests.sample_job import SampleJob
from tests.services.fixtures import Registry, free_port
from toolkit.core.engine import LABEL
from toolkit.errors import ExitCode

pytestmark = [pytest.mark.engine, pytest.mark.model]


@pytest.fixture
def job(sample_job: SampleJob) -> SampleJob:
    return sample_job


@pytest.fixture(scope="module")
def image(sample_job: SampleJob) -> str:
    return next(iter(sample_job.tags))


def test_the_container_was_labelled_and_had_no_network(job):
    bench = tiny.docker_bench(job.home, job.base)
    run = next(run for run in bench.runs() if run.kind == "build")
    container = bench.engine_of(run)._container(run)
    assert container.labels[f"{LABEL}.run"] == run.id
    assert container.attrs["HostConfig"]["NetworkMode"] == "none"
    assert container.attrs["HostConfig"]["CapDrop"] == ["ALL"]


def test_a_little_training_already_fits_the_held_out_data_better(job):
    metrics = tiny.docker_bench(job.home, job.base).run("1").manifest()["metrics"]["evaluate-cpu-travel"]
    assert metrics["adapter.perplexity"] < 0.7 * metrics["graph.perplexity"]


def test_the_second_run_takes_every_step_from_the_cache(job):
    assert job.done("run", str(job.recipe)).count("done already: nothing had changed") == 8


def test_the_image_is_small_labelled_and_layered(job, image):
    engine = tiny.docker_bench(job.home, job.base).image_engine()
    found = engine.find(image)
    runtime = engine.find(found.labels[f"{LABEL}.runtime"])
    assert runtime.bytes < 300e6
    assert len(found.layers) == len(runtime.layers) + 4, "model, two adapters, configuration"
    assert {f"{LABEL}.{key}" for key in ("recipe", "recipe.sha256", "run", "device", "model.sha256", "adapters")} <= set(found.labels)
    assert found.labels[f"{LABEL}.adapters"] == "persona,travel"
    assert image in [row["reference"] for row in json.loads(job.done("images", "--json"))]


def test_packaging_the_same_build_twice_gives_the_same_image(job, image):
    engine = tiny.docker_bench(job.home, job.base).image_engine()
    before = engine.find(image).id
    job.done("package", "1", "--device", "cpu")
    assert engine.find(image).id == before


def test_the_image_answers_over_several_turns_with_the_base_and_each_adapter(job, image):
    for adapter in ([], ["--adapter", "travel"], ["--adapter", "persona"]):
        turns = json.loads(
            job.done(
                "chat",
                image,
                *adapter,
                "--prompt",
                "What is the capital of France?",
                "--prompt",
                "And of Italy?",
                "--max-tokens",
                "24",
                "--json",
            )
        )
        assert len(turns) == 2 and all(turn["answer"].strip() for turn in turns)
        assert all(turn["figures"]["tokens_per_second"] > 0 and turn["figures"]["first_token_ms"] > 0 for turn in turns)


def test_the_base_still_knows_the_capital_of_france(job, image):
    [turn] = json.loads(job.done("chat", image, "--prompt", "What is the capital of France?", "--max-tokens", "24", "--json"))
    assert "Paris" in turn["answer"]


def test_a_push_is_read_back_and_a_second_push_moves_no_layer(job, image):
    digest = job.done("push", image, "--registry", job.target).strip().splitlines()[-1]
    assert re.fullmatch(rf"{job.registry.address}/travel@sha256:[0-9a-f]{{64}}", digest)
    before = job.registry.stored_bytes()
    assert job.done("push", image, "--registry", job.target).strip().splitlines()[-1] == digest
    assert job.registry.stored_bytes() == before


def test_retraining_one_adapter_pushes_only_that_adapter(job, image):
    job.done("push", image, "--registry", job.target)
    before = job.registry.stored_bytes()
    text = job.recipe.read_text()
    job.recipe.write_text(text.replace("finetune = { max_steps = 6 }", "finetune = { max_steps = 5 }"))
    out = job.done("run", str(job.recipe))
    assert out.count("done already: nothing had changed") == 5, "all but persona's three steps"
    job.done("package", "last", "--device", "cpu")
    bench = tiny.docker_bench(job.home, job.base)
    newest = bench.run("last")
    adapter = newest.folder / "content" / "adapters" / "persona.onnx_adapter"
    job.done("push", newest.request["steps"][0]["options"]["tag"], "--registry", f"{job.target}:retrained")
    assert job.registry.stored_bytes() - before <= adapter.stat().st_size + 100_000


def test_a_refused_password_says_so_and_leaves_no_trace_of_it(job, image):
    environ = {"EDGE_BASE_IMAGE": job.base, "EDGE_REGISTRY_USERNAME": "edge", "EDGE_REGISTRY_PASSWORD": "wrong-swordfish"}
    done = tiny.edge("push", image, "--registry", job.target, home=job.home, engine="docker", **environ)
    assert done.returncode == ExitCode.PUBLISH
    assert "The registry refused the credentials" in done.stderr and "--password-stdin" in done.stderr
    assert subprocess.run(["grep", "-r", "swordfish", str(job.home)], capture_output=True).returncode == 1


def test_a_registry_that_dies_in_mid_push_is_told_and_the_push_is_resumed(job, image):
    fragile = Registry(job.folder / "fragile", free_port())  # empty, so that every layer has to move
    fragile.start()
    name = job.done("push", image, "--registry", f"{fragile.address}/travel", "--detach").strip()
    run = tiny.docker_bench(job.home, job.base).run(name)
    until(lambda: (step := run.state().steps["push"]).done > 0 and step.status == "running")
    fragile.kill()
    dead = job.edge("attach", name)
    assert dead.returncode == ExitCode.PUBLISH, dead.stdout
    assert "went away" in dead.stderr and f"edge resume {name}" in dead.stderr
    fragile.start()
    try:
        assert "@sha256:" in job.done("resume", name)
    finally:
        fragile.kill()


def test_what_is_not_packaged_cannot_be_pushed(job):
    done = job.edge("push", "debian:12", "--registry", job.target)
    assert done.returncode == 8 and "There is no packaged image 'debian:12'" in done.stderr
