"""2.5 GB of model into Azure ML's storage on loopback: ours beside the SDK's own upload, memory, progress, and the same content again."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.measure import Finding, Options, Skipped, interleaved, run_child, spread
from tests.services.fixtures import state

if TYPE_CHECKING:
    from tests.azure.lab import Lab

LARGE, SMALL = 2_400_000_000, 50_000_000
MEMORY_GOAL, GAP_GOAL = 200_000_000, 1.0
AGAIN_BYTES, AGAIN_SECONDS = 20_000, 3.0
MOST_ROUNDS = 2
"""Each writes as much as two images."""
OURS = """
import json, sys, time
from pathlib import Path
from toolkit.core.content import folder_digest
from toolkit.core.model_registry import ModelCard
from toolkit.wiring import make_workbench
began, folder, told = time.monotonic(), Path(sys.argv[2]), []
store = make_workbench().cloud().model_registry(sys.argv[1])
digest, card = folder_digest(folder), ModelCard("bench", "1")
hashed = time.monotonic() - began
store.plan(card, digest)
store.register(folder, digest, card, lambda moved: told.append((time.monotonic(), moved.done)))
ended = time.monotonic()
steps = [after[0] - before[0] for before, after in zip(told, told[1:])]
moves = [at for number, (at, done) in enumerate(told) if not number or done != told[number - 1][1]]
still = [after - before for before, after in zip(moves, moves[1:])]
print(json.dumps({"hashed": hashed, "gap": max(steps, default=0), "still": max(still, default=0), "seconds": ended - began}))
"""
AGAIN = """
import sys
from pathlib import Path
from toolkit.core.model_registry import ModelCard
from toolkit.wiring import make_workbench
store, card = make_workbench().cloud().model_registry(sys.argv[1]), ModelCard("bench", "1")
planned = store.plan(card, sys.argv[3])
assert planned.existing
store.register(Path(sys.argv[2]), sys.argv[3], card, print)
"""
THEIRS = """
import json, sys, time
began = time.monotonic()
from azure.ai.ml import MLClient
from azure.ai.ml.entities import Model
from azure.identity import DefaultAzureCredential
client = MLClient(DefaultAzureCredential(), *sys.argv[1].split("/"), enable_telemetry=False)
client.models.create_or_update(Model(name="bench", version="1", path=sys.argv[2]))
print(json.dumps({"seconds": time.monotonic() - began}))
"""


def measure(options: Options) -> list[Finding]:
    if state().get("azurite") != "yes" or state().get("registry") != "yes":
        raise Skipped("Azurite or docker-registry is missing: run tests/services/up.sh as root")
    content = _content(options.work / "content")
    size = sum(path.stat().st_size for path in content.rglob("*") if path.is_file())
    told: dict[str, list[dict]] = {"ours": [], "theirs": []}
    peaks: dict[str, list[int]] = {"ours": [], "theirs": []}
    again: list[tuple[int, float]] = []

    def take(name: str, program: str) -> float:
        with _lab(options.work / f"lab-{name}") as (lab, environ):
            from tests.azure.arm import SUBSCRIPTION

            place, output = f"{SUBSCRIPTION}/team/lab", options.work / f"{name}.json"
            ended = run_child([sys.executable, "-c", program, place, str(content)], environ, output)
            told[name].append(json.loads(output.read_text().splitlines()[-1]))
            peaks[name].append(ended.peak_bytes)
            if name == "ours":
                again.append(_again(lab, environ, place, content))
        return ended.seconds

    taken = interleaved({"ours": lambda: take("ours", OURS), "theirs": lambda: take("theirs", THEIRS)}, min(options.repeat, MOST_ROUNDS))
    ratio = statistics.median(theirs / ours for ours, theirs in zip(taken["ours"], taken["theirs"], strict=True))
    gap, still = max(one["gap"] for one in told["ours"]), max(one["still"] for one in told["ours"])
    moved, seconds = max(moved for moved, _ in again), max(seconds for _, seconds in again)
    speed = size / statistics.median(taken["ours"]) / 1e6
    hashing = statistics.median(one["hashed"] for one in told["ours"])
    return [
        Finding(
            "Register a model of 2.5 GB, from the start of the process",
            f"{spread(taken['ours'])}; {speed:.0f} MB/s",
            how=f"{size:,} random bytes through a CONNECT proxy and TLS to Azurite on the same two cores; {hashing:.1f} s of it hash the content, "
            "which publishing skips where nothing was written since packaging",
        ),
        Finding(
            "... by the SDK's own upload",
            spread(taken["theirs"]),
            how="`models.create_or_update` of the same folder, same path, taking turns",
        ),
        Finding("... ratio of speeds, ours to the SDK's", f"{ratio:.2f}", ">= 1", ratio >= 1),
        Finding(
            "Peak memory of the whole process",
            f"{max(peaks['ours']) / 1e6:.0f} MB; the SDK's {max(peaks['theirs']) / 1e6:.0f} MB",
            f"<= {MEMORY_GOAL / 1e6:.0f} MB",
            max(peaks["ours"]) <= MEMORY_GOAL,
        ),
        Finding("Longest silence of progress", f"{gap:.2f} s; without a byte more {still:.2f} s", f"<= {GAP_GOAL:.0f} s", gap <= GAP_GOAL),
        Finding(
            "The same content again, from the start of the process",
            f"{moved:,} bytes on the wire, {seconds:.2f} s",
            f"{AGAIN_BYTES:,} bytes, {AGAIN_SECONDS:.0f} s",
            moved <= AGAIN_BYTES and seconds <= AGAIN_SECONDS,
            how="both ways, TLS and sign-in included",
        ),
    ]


def _content(folder: Path) -> Path:
    (folder / "model").mkdir(parents=True)
    (folder / "adapters").mkdir()
    (folder / "device.json").write_text("{}")
    for path, size in (("model/model.onnx.data", LARGE), ("adapters/a.onnx_adapter", SMALL), ("adapters/b.onnx_adapter", SMALL)):
        with open(folder / path, "wb") as out:
            for start in range(0, size, 1 << 24):
                out.write(os.urandom(min(1 << 24, size - start)))
    return folder


@contextmanager
def _lab(folder: Path) -> Iterator[tuple[Lab, dict[str, str]]]:
    """Azure on loopback, its bytes gone afterwards; the storage is reached past the front that counts, which is slower than it."""
    from tests.azure.lab import SERVICE_PRINCIPAL, STORAGE, azure_lab

    folder.mkdir()
    try:
        with azure_lab(folder) as lab:
            lab.proxy.ports[STORAGE] = lab.blobs.backend[0]
            yield lab, {**os.environ, **lab.environ, **SERVICE_PRINCIPAL, "EDGE_HOME": str(folder / "home"), "HOME": str(folder)}
    finally:
        shutil.rmtree(folder)


def _again(lab: Lab, environ: dict[str, str], place: str, content: Path) -> tuple[int, float]:
    """Bytes and seconds of registering it once more, its digest known from packaging."""
    digest = lab.cloud.model("bench", "1")["properties"]["edge.content.sha256"]
    lab.proxy.reset()
    began = time.monotonic()
    run_child([sys.executable, "-c", AGAIN, place, str(content), digest], environ)
    return lab.proxy.moved, time.monotonic() - began
