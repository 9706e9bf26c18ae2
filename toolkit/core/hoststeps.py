"""The steps that the host does itself: packaging and publishing, one after another, each to its events."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from toolkit.core import events as ev
from toolkit.core import exporting, lineage, machine, packaging, publishing, registering, rights
from toolkit.core.files import free_bytes, write_json
from toolkit.core.run import Run
from toolkit.core.workbench import Workbench
from toolkit.errors import ToolkitError

PROGRESS_SECONDS = 0.25
Parts = dict[str, list[float]]
"""`[done, total]` by name."""


@dataclass
class Job:
    """One step being done: its options, and the ways to say what happens."""

    bench: Workbench
    run: Run
    step: str
    options: dict
    secrets: dict = field(default_factory=dict, repr=False)
    _said_at: float = 0.0

    def progress(self, done: float, total: float | None = None, unit: str = "", message: str = "", parts: Parts | None = None) -> None:
        """Say how far it is, a few times a second at most, and always at the end."""
        now = time.monotonic()
        if now - self._said_at >= PROGRESS_SECONDS or done == total:
            self._said_at = now
            self.run.append(ev.StepProgress(step=self.step, done=done, total=total, unit=unit, message=message, parts=parts or {}))

    def left(self, kind: str, path: str, size: int, sha256: str) -> None:
        self.run.append(ev.ArtifactWritten(step=self.step, kind=kind, path=path, bytes=size, sha256=sha256))

    def log(self, text: str) -> None:
        with open(self.run.folder / "log.txt", "a", encoding="utf-8") as log:
            log.write(text.rstrip("\n") + "\n")


Handler = Callable[[Job], dict[str, float]]
HANDLERS: dict[str, Handler] = {
    "collect": packaging.collect,
    "image": packaging.image,
    "smoke": packaging.smoke,
    "rights": rights.check,
    "push": publishing.push,
    "verify": publishing.verify,
    "register": registering.register,
    "link": lineage.link,
    "save": exporting.save,
}


class HostSteps:
    """All steps of one packaging or publishing run."""

    def __init__(self, bench: Workbench, run: Run, secrets: dict, sample_seconds: float = machine.SECONDS) -> None:
        self._bench, self._run, self._secrets = bench, run, secrets
        self._recorder = machine.Recorder(self._sampled, sample_seconds)

    def all_done(self) -> bool:
        """Do what is left; False after the first step that fails, which has said so."""
        try:
            return all(self._is_done(step) for step in self._run.request["steps"])
        finally:
            self._recorder.stop()

    def _sampled(self, sample: machine.Sample) -> None:
        ev.note(self._run.folder, ev.MachineSampled(**vars(sample)))

    def _is_done(self, step: dict) -> bool:
        name = step["name"]
        marker = self._run.folder / "steps" / name / "done"
        self._run.append(ev.StepStarted(step=name))
        if marker.exists():
            self._run.append(ev.StepFinished(step=name, seconds=0, cached=True, metrics=json.loads(marker.read_text("utf-8"))))
            return True
        started = time.monotonic()
        job = Job(self._bench, self._run, name, step["options"], self._secrets)
        try:
            metrics = HANDLERS[step["kind"]](job)
        except ToolkitError as exc:
            self._fail(name, exc.message, exc.hint, type(exc).__name__)
            return False
        except OSError as exc:
            self._fail(name, f"{exc}; {free_bytes(self._run.folder)} bytes are free", "`edge clean` shows what can go; then `edge resume`.")
            return False
        except Exception:
            traceback.print_exc()  # into driver.log
            self._fail(name, f"{traceback.format_exc().strip().splitlines()[-1]}", "driver.log in the run folder has the whole story.")
            return False
        marker.parent.mkdir(parents=True, exist_ok=True)
        write_json(marker, metrics)
        self._run.append(ev.StepFinished(step=name, seconds=time.monotonic() - started, metrics=metrics))
        return True

    def _fail(self, name: str, error: str, hint: str, cause: str = "") -> None:
        self._recorder.stop()  # nothing is recorded after the last word
        self._run.append(ev.StepFailed(step=name, error=error, hint=hint, cause=cause))
