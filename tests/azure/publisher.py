"""A person with something to publish into the lab, and the real `edge` for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass, field

from tests.azure.arm import SUBSCRIPTION
from tests.azure.calls import Call
from tests.azure.lab import REGISTRY_HOST, Lab
from tests.cli.desk import Desk, until
from tests.packaged_home import Packaged
from toolkit.core.run import Run, find_run

WORKSPACE = f"{SUBSCRIPTION}/team/lab"
WHERE = ("--registry", REGISTRY_HOST, "--workspace", WORKSPACE)


@dataclass
class Publisher:
    lab: Lab
    desk: Desk
    packaged: Packaged
    said: list[str] = field(default_factory=list)
    """All that was printed."""

    def publish(self, *more: str, where: tuple[str, ...] = WHERE) -> subprocess.CompletedProcess[str]:
        return self.edge("publish", self.packaged.run.id, *where, *more)

    def edge(self, *argv: str) -> subprocess.CompletedProcess[str]:
        ended = self.desk.edge(*argv)
        self.said += [ended.stdout, ended.stderr]
        return ended

    def start(self, *more: str, where: tuple[str, ...] = WHERE) -> subprocess.Popen[str]:
        """Publish, and do not wait for its end."""
        return self.desk.start("publish", self.packaged.run.id, *where, *more)

    def ended(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Its exit code and what it said."""
        out, talk = process.communicate(timeout=120)
        self.said += [out, talk]
        return process.returncode, out + talk

    @property
    def run(self) -> Run:
        """The newest."""
        return find_run(self.desk.home / "runs", "last")

    def events(self, kind: str) -> list[dict]:
        told = [json.loads(line) for line in self.run.events_file.read_text().splitlines()]
        return [event for event in told if event["type"] == kind]

    def kill(self) -> None:
        """The run's driver, with nothing left to do for it."""
        os.kill(int(self.events("RunStarted")[-1]["handle"]), signal.SIGKILL)
        until(lambda: not self.run.is_locked())

    def seconds_to_fail(self) -> float:
        """From the beginning of the step that failed."""
        failed = self.events("StepFailed")[-1]
        return failed["at"] - next(one["at"] for one in reversed(self.events("StepStarted")) if one["step"] == failed["step"])

    def failure(self) -> tuple[str, str, str]:
        """Step, error and hint."""
        told = self.events("StepFailed")[-1]
        return told["step"], told["error"], told["hint"]

    def forget(self) -> None:
        """Count from here."""
        for front in (self.lab.cloud, self.lab.registry, self.lab.blobs):
            front.forget_calls()
        self.lab.proxy.up.clear()
        self.lab.proxy.down.clear()

    def is_published(self, version: str = "1") -> bool:
        """Image and model are at Azure, whole."""
        layout = self.packaged.layout
        tag = self.packaged.name.rpartition(":")[2]
        stored, model = self.lab.registry.stored("travel", tag), self.lab.cloud.model("travel", version)
        if stored is None or model is None or stored.digest != layout.manifest or stored.manifest["config"]["digest"] != layout.config:
            return False
        prefix = model["modelUri"].partition("/paths/")[2].rstrip("/")
        blobs = {blob.name.removeprefix(f"{prefix}/"): blob.name for blob in self.lab.container.list_blobs(prefix)}
        files = {path.relative_to(self.packaged.content).as_posix(): path for path in self.packaged.content.rglob("*") if path.is_file()}
        return {name: self.lab.container.download_blob(blob).readall() for name, blob in blobs.items()} == {
            name: path.read_bytes() for name, path in files.items()
        }


def waited(calls: list[Call], first: int = 0) -> float:
    """Seconds between that call and the next."""
    return calls[first + 1].at - calls[first].at
