"""The build program: runs the steps of one run folder, each as a child process, and says in events what happens.

    python run_steps.py RUN_FOLDER [--steps-folder FOLDER] [--driver docker|local] [--sample-seconds SECONDS]
    python run_steps.py doctor [--json]

Standard library only. Killed at any moment and started again, it goes on after the last finished step.
`--steps-folder` holds the `step_<kind>.py` scripts; left out, it is the folder of this file.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import signal
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cuda_gate
import doctor
import driver_lock
import machine_record
import origins
from cache import ContentHashes, Contents, Entry, pin_set, read_json, write_json
from child import Child, Failure, describe, python_command
from shared import events
from step_key import StepKeys

HERE = Path(__file__).resolve().parent

FORMAT = 1
STOPPED = 143
LITTLE_DISK = 16 * 1024 * 1024
"""With less than this free, a step that failed is told to have failed for want of disk."""

OUTPUTS = {
    "quantize": ("config.json", "*.safetensors", "tokenizer*"),
    "finetune": ("adapter_config.json", "adapter_model.safetensors"),
    "merge": ("config.json", "*.safetensors", "tokenizer*"),
    "export": ("genai_config.json", "*.onnx"),
    "adapter": ("*.onnx_adapter",),
    "evaluate": ("metrics.json", "answers.jsonl"),
    "weigh": ("metrics.json",),
}
"""What each kind must leave. Olive may exit 0 without a model, so the exit code alone proves nothing."""

ARTIFACT_KINDS = {
    "quantize": "model", "finetune": "adapter", "merge": "model", "export": "graph", "adapter": "adapter", "evaluate": "report",
}  # fmt: skip


class StopRequested(BaseException):
    """Somebody sent SIGTERM or pressed Ctrl-C."""


class StepFailure(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.failure = failure


@dataclass(frozen=True)
class Finished:
    """A step that is done: where its outputs are, what they hold, what it measured."""

    contents: Contents
    metrics: dict[str, float]
    is_cached: bool


class Build:
    """One run being worked on."""

    def __init__(self, run: Path, request: dict, steps_folder: Path, recorder: machine_record.machine.Recorder) -> None:
        self.recorder = recorder
        self.run, self.request, self.steps_folder = run, request, steps_folder
        self.cache = Path(request["cache"])
        self.cache.mkdir(parents=True, exist_ok=True)
        self.hashes = ContentHashes(self.cache / "hashes.json")
        self.pins = pin_set()
        self.keys = StepKeys(self.hashes, self.pins, steps_folder)
        self.child: Child | None = None
        self.artifacts: list[dict] = []
        self.metrics: dict[str, dict[str, float]] = {}
        self.is_past_gate = False

    def go(self) -> int:
        """Do every step that is not done; the exit code."""
        began = time.monotonic()
        for step in self.request["steps"]:
            if not self.do(step):
                return 1
        manifest = {"format": FORMAT, "run": self.request["id"], "artifacts": self.artifacts, "metrics": self.metrics}
        manifest |= {"tools": origins.tools(), "inputs": origins.inputs(self.run, self.request["steps"], self.hashes)}
        write_json(self.run / "manifest.json", manifest)
        self.hashes.save()
        self.end(events.RunFinished(seconds=round(time.monotonic() - began, 3)))
        return 0

    def end(self, ending: events.Event) -> None:
        """Say the last word: nothing is recorded after it."""
        self.recorder.stop()
        events.append(self.run, ending)

    def do(self, step: dict) -> bool:
        """Do one step and tell how it went; False where it failed."""
        name, began = step["name"], time.monotonic()
        events.append(self.run, events.StepStarted(step=name))
        try:
            finished = self.finish(step)
        except StepFailure as raised:
            failure = self.blame_the_disk(raised.failure)
        except OSError as error:
            failure = self.blame_the_disk(_own_failure(error), is_full=error.errno in (errno.ENOSPC, errno.EDQUOT))
        else:
            self.tell(step, finished, time.monotonic() - began)
            return True
        self.end(events.StepFailed(step=name, error=failure.error, hint=failure.hint, exit_code=failure.exit_code))
        return False

    def finish(self, step: dict) -> Finished:
        """The step's outputs: already in this run, in the cache, or made now."""
        folder = self.run / "steps" / step["name"]
        folder.mkdir(parents=True, exist_ok=True)
        key = self.keys.of(step)
        done = read_json(folder / "done")
        if done and done.get("key") == key and not self.missing(step, folder / "out"):
            return Finished(Contents(**done["contents"]), _metrics(folder / "out"), is_cached=True)
        (folder / "done").unlink(missing_ok=True)
        entry = Entry(self.cache / self.pins[:12] / key)
        contents = self.take(entry, step, folder)
        is_cached = contents is not None
        if contents is None:
            self.work(step, folder)
            contents = self.hashes.of(folder / "out")
            self.keep(entry, step, folder / "out", contents)
        write_json(folder / "done", {"key": key, "contents": vars(contents)})
        self.hashes.save()
        return Finished(contents, _metrics(folder / "out"), is_cached)

    def take(self, entry: Entry, step: dict, folder: Path) -> Contents | None:
        fresh = _empty(folder)
        contents = entry.take(fresh)
        if contents is None or self.missing(step, fresh):
            return None
        os.replace(fresh, folder / "out")
        return contents

    def keep(self, entry: Entry, step: dict, outputs: Path, contents: Contents) -> None:
        """Keep the outputs for other runs. A cache that cannot be written costs time later, not this run."""
        try:
            entry.fill(outputs, contents, f"{self.request['id']}-{step['name']}")
        except OSError as error:
            self.log(f"Not kept in the cache: {error}\n")

    def work(self, step: dict, folder: Path) -> None:
        """Run the step's script into a fresh folder, and give it its name once it is complete."""
        self.pass_gate()
        fresh = _empty(folder)
        asked = {**step, "run": str(self.run), "out": str(fresh), "inputs": self.input_paths(step), "key": self.keys.known[step["name"]]}
        (folder / "error.json").unlink(missing_ok=True)
        had_begun = (folder / "log.txt").exists()
        (folder / "log.txt").unlink(missing_ok=True)
        write_json(folder / "step.json", asked)
        again = time.strftime(" (again, %H:%M:%S)") if had_begun else ""
        self.log(f"== {step['name']}{again}\n")
        script = self.steps_folder / f"step_{step['kind']}.py"
        logs = [folder / "log.txt", self.run / "log.txt"]
        home = _step_home(folder)
        self.child = Child(python_command(script, folder / "step.json"), _environment(self.steps_folder, home), logs)
        exit_code = self.child.wait()
        self.child = None
        shutil.rmtree(home, ignore_errors=True)
        if exit_code:
            raise StepFailure(describe(exit_code, folder, step["kind"]))
        if missing := self.missing(step, fresh):
            raise StepFailure(Failure(f"The step ended well but left no {missing}.", f"See {logs[0]}.", 0))
        os.replace(fresh, folder / "out")

    def pass_gate(self) -> None:
        """Once, before the first work: a build for CUDA needs a GPU. What comes from the cache needs none."""
        if self.is_past_gate:
            return
        if refusal := cuda_gate.refusal(self.request["steps"], cuda_gate.installed()):
            raise StepFailure(Failure(*refusal, exit_code=1))
        self.is_past_gate = True

    def missing(self, step: dict, outputs: Path) -> str:
        """The first output that the kind must leave and that is not there."""
        return next((name for name in OUTPUTS.get(step["kind"], ("*",)) if not any(outputs.glob(name))), "")

    def input_paths(self, step: dict) -> dict[str, str]:
        """Where each input is: a path as given, or the outputs of an earlier step."""
        return {
            name: value["path"] if "path" in value else str(self.run / "steps" / value["step"] / "out")
            for name, value in step["inputs"].items()
        }

    def tell(self, step: dict, finished: Finished, seconds: float) -> None:
        name, contents = step["name"], finished.contents
        path, kind = f"steps/{name}/out", ARTIFACT_KINDS.get(step["kind"], "report")
        artifact = {"kind": kind, "path": path, "bytes": contents.bytes, "sha256": contents.sha256}
        self.artifacts.append({"step": name, **artifact})
        self.metrics[name] = finished.metrics
        events.append(self.run, events.ArtifactWritten(step=name, **artifact))
        ended = events.StepFinished(step=name, seconds=round(seconds, 3), cached=finished.is_cached, metrics=finished.metrics)
        events.append(self.run, ended)

    def log(self, text: str) -> None:
        try:
            with (self.run / "log.txt").open("a", encoding="utf-8") as log:
                log.write(text)
        except OSError:
            return  # a full disk is told in an event

    def blame_the_disk(self, failure: Failure, is_full: bool = False) -> Failure:
        """The same failure, or want of disk where that is what it was."""
        free = shutil.disk_usage(self.run).free
        if not is_full and free >= LITTLE_DISK and "No space left on device" not in failure.error:
            return failure
        error = f"The disk is full: {free} bytes free at {self.run}."
        return Failure(error, f"Free some space, then resume. The step said: {failure.error}", failure.exit_code)


def _own_failure(error: OSError) -> Failure:
    where = f": {error.filename}" if error.filename else ""
    return Failure(f"{error.strerror or error}{where}", "Check that the path exists and may be read and written.", 1)


def _empty(folder: Path) -> Path:
    """The folder that outputs are made in, empty; outputs of an earlier try are gone."""
    fresh = folder / "out.tmp"
    for old in (fresh, folder / "out"):
        shutil.rmtree(old, ignore_errors=True)
    fresh.mkdir()
    return fresh


def _metrics(outputs: Path) -> dict[str, float]:
    measured = read_json(outputs / "metrics.json") or {}
    return {name: value for name, value in measured.items() if isinstance(value, (int, float))}


def _step_home(folder: Path) -> Path:
    """A home of the step's own, gone with it: libraries keep copies of the training rows and ids of the machine at home."""
    home = folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    return home


def _environment(steps_folder: Path, home: Path) -> dict[str, str]:
    """Our environment, with our modules to import, every telemetry off and caches in the step's own home."""
    paths = [str(steps_folder), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    telemetries = ("OLIVE_DISABLE_TELEMETRY", "ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "DISABLE_TELEMETRY", "DO_NOT_TRACK")
    quiet = dict.fromkeys((*telemetries, "CI"), "1")  # CI: Olive sends its first message before it looks at its own switch
    places = {"HOME": home, "XDG_CACHE_HOME": home / ".cache", "HF_HOME": home / ".cache" / "huggingface"}
    own = {name: str(place) for name, place in places.items()}
    idle = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "TOKENIZERS_PARALLELISM": "false"}
    return {**os.environ, **quiet, **idle, **own, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def _request_stop(_number: int, _frame: object) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise StopRequested


def _read_request(run: Path) -> dict:
    request = read_json(run / "request.json")
    if request is None:
        sys.exit(f"No readable request.json in {run}. Start the run again from the toolkit.")
    if request.get("format") != FORMAT:
        sys.exit(f"{run} is in format {request.get('format')}, this program knows {FORMAT}. Update the build image.")
    return request


def main() -> int:
    if sys.argv[1:2] == ["doctor"]:
        return doctor.main(sys.argv[2:])
    parser = argparse.ArgumentParser(description="Run the steps of a run folder.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--steps-folder", type=Path, default=HERE)
    parser.add_argument("--driver", default="docker" if Path("/.dockerenv").exists() else "local")
    parser.add_argument("--sample-seconds", type=float, default=machine_record.machine.SECONDS)
    asked = parser.parse_args()
    run = asked.run.resolve()
    request = _read_request(run)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _request_stop)
    if not driver_lock.hold(run):
        sys.exit(f"Run {run.name} is being driven already. Watch it with `edge attach {run.name}`.")
    if not (run / events.RESERVE_FILE).exists():
        _make_reserve(run)
    handle = socket.gethostname() if asked.driver == "docker" else str(os.getpid())
    events.append(run, events.RunStarted(driver=asked.driver, handle=handle))
    build = Build(run, request, asked.steps_folder.resolve(), machine_record.start(run, asked.sample_seconds))
    try:
        return build.go()
    except StopRequested:
        if build.child:
            build.child.end()
        build.end(events.stop_or_interruption(run))
        return STOPPED


def _make_reserve(run: Path) -> None:
    try:
        events.make_reserve(run)
    except OSError:
        return  # the disk is full already; the step will say so


if __name__ == "__main__":
    sys.exit(main())
