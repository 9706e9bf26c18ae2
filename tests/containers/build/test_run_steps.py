"""The build program as a program: tiny steps stand in for Olive's, through `--steps-folder`."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "toolkit" / "core"))  # behind the libraries: one of them is called packaging, like a module there

import events  # noqa: E402

PROGRAM = ROOT / "containers" / "build" / "run_steps.py"

TINY_STEP = """
import json, os, signal, sys, time
from step_io import Progress, StepError, main
{extra_import}

def work(step):
    with open(step.run / "worked.txt", "a") as diary:
        diary.write(step.name + "\\n")
    print("working on", step.name)
    todo = step.option("do", "")
    if todo == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if todo == "refuse":
        raise StepError("This model is not known.", "Use another one.")
    if todo == "crash":
        raise RuntimeError("the wheel fell off")
    if todo == "fill":
        raise OSError(28, "No space left on device")
    if todo == "sleep" or (todo == "sleep once" and not (step.run / "slept").exists()):
        (step.run / "slept").touch()
        os.fork() or time.sleep(120)
        Progress(step, total=9, unit="naps").tell(1)
        time.sleep(120)
    if todo != "nothing":
        for name in {outputs}:
            (step.out / name).write_text(step.name + json.dumps(step.options))
    step.write_metrics({{"seen": sum(len(path.read_text()) for path in step.inputs.values() if path.is_file())}})

main(work)
"""

OUTPUTS = {
    "quantize": ["config.json", "model.safetensors", "tokenizer.json"],
    "finetune": ["adapter_config.json", "adapter_model.safetensors"],
}


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


class Bench:
    """Run folders, a cache, and a folder of tiny steps."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache, self.steps = folder, folder / "cache", folder / "scripts"
        self.steps.mkdir()
        self.text = folder / "text.jsonl"
        self.text.write_text("some text")
        for kind, outputs in OUTPUTS.items():
            self.write_step(kind, outputs)

    def write_step(self, kind: str, outputs: list[str], extra_import: str = "") -> None:
        script = TINY_STEP.format(outputs=outputs, extra_import=extra_import)
        (self.steps / f"step_{kind}.py").write_text(script)

    def make_run(self, name: str, quantize: dict | None = None, finetune: dict | None = None) -> Path:
        run = self.folder / name
        run.mkdir(exist_ok=True)
        steps = [
            {"name": "quantize", "kind": "quantize", "options": quantize or {},
             "inputs": {"calibration": {"path": str(self.text)}}},
            {"name": "finetune-travel", "kind": "finetune", "options": finetune or {},
             "inputs": {"model": {"step": "quantize"}}},
        ]  # fmt: skip
        request = {"format": 1, "kind": "build", "id": name, "recipe": {}, "cache": str(self.cache), "steps": steps}
        (run / "request.json").write_text(json.dumps(request))
        return run

    def command(self, run: Path) -> list[str]:
        return [sys.executable, str(PROGRAM), str(run), "--steps-folder", str(self.steps), "--driver", "local"]

    def build(self, run: Path) -> int:
        return subprocess.run(self.command(run), timeout=60).returncode

    def start(self, run: Path) -> subprocess.Popen:
        return subprocess.Popen(self.command(run))


def story(run: Path) -> list[events.Event]:
    told = run / "events.jsonl"
    lines = told.read_bytes().splitlines() if told.exists() else []
    return [event for event in map(events.from_line, lines) if event]


def last(run: Path) -> events.Event:
    return story(run)[-1]


def cached(run: Path) -> dict[str, bool]:
    return {event.step: event.cached for event in story(run) if isinstance(event, events.StepFinished)}


def worked(run: Path) -> list[str]:
    diary = run / "worked.txt"
    return diary.read_text().split() if diary.exists() else []


def until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_run_tells_its_story_and_leaves_a_manifest(bench):
    run = bench.make_run("0001-build")
    assert bench.build(run) == 0
    names = [type(event).__name__ for event in story(run)]
    step = ["StepStarted", "ArtifactWritten", "StepFinished"]
    assert names == ["RunStarted", *step, *step, "RunFinished"]
    manifest = json.loads((run / "manifest.json").read_text())
    assert [artifact["kind"] for artifact in manifest["artifacts"]] == ["model", "adapter"]
    assert manifest["metrics"]["quantize"] == {"seen": len("some text")}
    assert manifest["inputs"] == {"calibration": hashlib.sha256(b"some text").hexdigest()} and "tools" in manifest
    first = manifest["artifacts"][0]
    assert first["bytes"] == sum(file.stat().st_size for file in (run / first["path"]).iterdir())
    assert "working on quantize" in (run / "log.txt").read_text()
    assert "working on quantize" in (run / "steps/quantize/log.txt").read_text()


def test_a_second_run_takes_everything_from_the_cache(bench):
    first, second = bench.make_run("0001-build"), bench.make_run("0002-build")
    assert bench.build(first) == bench.build(second) == 0
    assert cached(first) == {"quantize": False, "finetune-travel": False}
    assert cached(second) == {"quantize": True, "finetune-travel": True}
    assert worked(second) == []
    for name in OUTPUTS["quantize"]:
        assert (second / "steps/quantize/out" / name).read_text() == (first / "steps/quantize/out" / name).read_text()
    manifests = [json.loads((run / "manifest.json").read_text()) for run in (first, second)]
    assert manifests[0]["artifacts"] == manifests[1]["artifacts"]
    assert manifests[0]["metrics"] == manifests[1]["metrics"]


def test_a_changed_option_redoes_only_what_depends_on_it(bench):
    bench.build(bench.make_run("0001-build"))
    run = bench.make_run("0002-build", finetune={"rank": 8})
    bench.build(run)
    assert cached(run) == {"quantize": True, "finetune-travel": False}


def test_changed_input_text_redoes_the_step_and_those_after_it(bench):
    bench.build(bench.make_run("0001-build"))
    bench.text.write_text("other text")
    run = bench.make_run("0002-build")
    bench.build(run)
    assert cached(run) == {"quantize": False, "finetune-travel": False}


def test_a_step_whose_source_changed_is_done_again(bench):
    bench.build(bench.make_run("0001-build"))
    (bench.steps / "helper.py").write_text("VALUE = 1\n")
    bench.write_step("finetune", OUTPUTS["finetune"], extra_import="import helper")
    second = bench.make_run("0002-build")
    bench.build(second)
    (bench.steps / "helper.py").write_text("VALUE = 2\n")
    third = bench.make_run("0003-build")
    bench.build(third)
    assert cached(second) == cached(third) == {"quantize": True, "finetune-travel": False}


@pytest.mark.parametrize("damage", ["a file is cut", "a file is gone", "the key is torn"])
def test_a_damaged_cache_entry_counts_as_a_miss(bench, damage):
    bench.build(bench.make_run("0001-build"))
    for entry in bench.cache.glob("*/*"):
        if damage == "a file is cut":
            victim = next((entry / "out").glob("*.safetensors"))
            victim.unlink()
            victim.write_text("x")
        if damage == "a file is gone":
            next((entry / "out").glob("*.safetensors")).unlink()
        if damage == "the key is torn":
            (entry / "key.json").write_text('{"format": 1, "fil')
    run = bench.make_run("0002-build")
    assert bench.build(run) == 0
    assert cached(run) == {"quantize": False, "finetune-travel": False}
    third = bench.make_run("0003-build")
    bench.build(third)
    assert cached(third) == {"quantize": True, "finetune-travel": True}


def test_a_broken_memo_of_hashes_is_forgotten(bench):
    bench.build(bench.make_run("0001-build"))
    (bench.cache / "hashes.json").write_text("[not json")
    run = bench.make_run("0002-build")
    assert bench.build(run) == 0
    assert cached(run) == {"quantize": True, "finetune-travel": True}


def test_a_killed_step_fails_the_run_and_says_so(bench):
    run = bench.make_run("0001-build", finetune={"do": "die"})
    assert bench.build(run) == 1
    assert isinstance(last(run), events.StepFailed)
    assert last(run).step == "finetune-travel"
    assert last(run).exit_code == 137
    assert "killed (137)" in last(run).error


def test_a_step_that_refuses_gives_its_reason_and_the_way_out(bench):
    run = bench.make_run("0001-build", quantize={"do": "refuse"})
    assert bench.build(run) == 1
    assert (last(run).error, last(run).hint) == ("This model is not known.", "Use another one.")
    assert not (run / "manifest.json").exists()


def test_a_step_that_crashes_is_told_by_its_last_words(bench):
    run = bench.make_run("0001-build", quantize={"do": "crash"})
    assert bench.build(run) == 1
    assert last(run).error == "RuntimeError: the wheel fell off"


def test_a_step_that_exits_well_without_outputs_has_failed(bench):
    run = bench.make_run("0001-build", quantize={"do": "nothing"})
    assert bench.build(run) == 1
    assert "left no config.json" in last(run).error
    assert list(bench.cache.glob("*/*")) == []


def test_want_of_disk_is_told_with_the_bytes_that_are_free(bench):
    run = bench.make_run("0001-build", quantize={"do": "fill"})
    assert bench.build(run) == 1
    assert last(run).error.startswith("The disk is full: ")
    assert "bytes free" in last(run).error


def test_an_input_that_is_not_there_fails_the_step(bench):
    run = bench.make_run("0001-build")
    bench.text.unlink()
    assert bench.build(run) == 1
    assert str(bench.text) in last(run).error


def test_a_failed_run_is_resumed_after_its_finished_steps(bench):
    run = bench.make_run("0001-build", finetune={"do": "refuse"})
    assert bench.build(run) == 1
    bench.make_run("0001-build", finetune={"do": "well"})
    assert bench.build(run) == 0
    assert worked(run) == ["quantize", "finetune-travel", "finetune-travel"]
    assert cached(run) == {"quantize": True, "finetune-travel": False}


def test_a_resumed_run_needs_no_cache_for_its_finished_steps(bench):
    run = bench.make_run("0001-build", finetune={"do": "refuse"})
    bench.build(run)
    shutil.rmtree(bench.cache)
    assert bench.build(run) == 1
    assert worked(run).count("quantize") == 1


def test_outputs_without_a_done_mark_are_not_trusted(bench):
    run = bench.make_run("0001-build")
    bench.build(run)
    (run / "steps/quantize/done").unlink()
    (run / "steps/quantize/out/model.safetensors").unlink()
    assert bench.build(run) == 0
    assert (run / "steps/quantize/out/model.safetensors").exists()


def test_a_killed_build_program_takes_its_step_along_and_can_be_resumed(bench):
    run = bench.make_run("0001-build", finetune={"do": "sleep once"})
    program = bench.start(run)
    until(lambda: (run / "slept").exists())
    step_group = _group_of_step(program.pid)
    program.kill()
    program.wait()
    until(lambda: not _group_lives(step_group))
    assert bench.build(run) == 0
    assert isinstance(last(run), events.RunFinished)
    assert worked(run) == ["quantize", "finetune-travel", "finetune-travel"]


@pytest.mark.parametrize("was_asked_for", [True, False])
def test_sigterm_ends_the_run_and_everything_it_started_and_tells_a_stop_from_a_shutdown(bench, was_asked_for):
    run = bench.make_run("0001-build", quantize={"do": "sleep"})
    program = bench.start(run)
    until(lambda: any(isinstance(event, events.StepProgress) for event in story(run)))
    step_group = _group_of_step(program.pid)
    if was_asked_for:
        (run / events.STOP_FILE).touch()
    program.send_signal(signal.SIGTERM)
    assert program.wait(20) == 143
    assert isinstance(last(run), events.RunStopped if was_asked_for else events.RunInterrupted)
    until(lambda: not _group_lives(step_group))


def test_a_torn_last_event_spoils_only_itself(bench):
    run = bench.make_run("0001-build")
    (run / "events.jsonl").write_bytes(b'{"type":"RunRequ')
    assert bench.build(run) == 0
    lines = (run / "events.jsonl").read_bytes().splitlines()
    assert [line for line in lines if events.from_line(line) is None] == [b'{"type":"RunRequ']


def test_a_request_from_a_newer_version_is_refused(bench):
    run = bench.make_run("0001-build")
    request = json.loads((run / "request.json").read_text())
    (run / "request.json").write_text(json.dumps({**request, "format": 2}))
    assert bench.build(run) != 0
    assert not (run / "events.jsonl").exists()


def _group_of_step(program: int) -> int:
    """The process group of the only child of the build program."""
    children = Path(f"/proc/{program}/task/{program}/children").read_text().split()
    return int(children[0])


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return not all(state in "ZX" for state in _states_of_group(group))


def _states_of_group(group: int) -> list[str]:
    states = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            states.append(fields[0])
    return states


def test_a_step_works_with_telemetry_off_and_in_a_home_of_its_own():
    import run_steps

    seen = run_steps._environment(Path("."), Path("/home/of/step"))
    assert {seen[name] for name in ("OLIVE_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "CI")} == {"1"}
    assert seen["HOME"] == "/home/of/step" and seen["HF_HOME"].startswith("/home/of/step")


def test_the_machine_is_sampled_while_the_run_goes_on_and_not_after_its_last_word(bench):
    run = bench.make_run("0001-build", finetune={"do": "sleep"})
    program = subprocess.Popen([*bench.command(run), "--sample-seconds", "0.01"])
    until(lambda: sum(isinstance(event, events.MachineSampled) for event in story(run)) > 2)
    until(lambda: any(isinstance(event, events.StepProgress) for event in story(run)))
    (run / events.STOP_FILE).touch()
    program.terminate()
    assert program.wait(timeout=60) == 143
    assert isinstance(last(run), events.RunStopped)
    sample = next(event for event in story(run) if isinstance(event, events.MachineSampled))
    assert 0 <= sample.cpu <= 1 and 0 < sample.memory <= sample.memory_total


def test_sampling_changes_no_key_of_a_step(bench):
    first, second = bench.make_run("0001-build"), bench.make_run("0002-build")
    assert bench.build(first) == 0
    assert subprocess.run([*bench.command(second), "--sample-seconds", "0.01"], timeout=60).returncode == 0
    assert set(cached(second).values()) == {True}
