"""The step that registers: which digest it trusts, which version it takes, and what it leaves in the run's folder."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.packaged_home import Packaged, packaged_home
from toolkit.core.content import folder_digest
from toolkit.core.events import StepProgress
from toolkit.core.hoststeps import HostSteps, Job
from toolkit.core.model_registry import ModelCard, Moved, Planned, RegisteredModel, Tell
from toolkit.core.publish_start import PublishWish, make_request
from toolkit.core.registering import MOST_PARTS, content_digest, look
from toolkit.core.run import Run, follow, new_run
from toolkit.errors import PublishError, VersionTaken

STORE = "s/g/w"


@dataclass
class PaperStore:
    """A store of models in memory, and the cloud that has it."""

    versions: dict[str, tuple[RegisteredModel, str]] = field(default_factory=dict)
    """With the content's digest."""
    uploads: int = 0
    quicker: list[str] = field(default_factory=list)
    """Digests that somebody else registers just before us, once each."""
    files: int = 2

    place: str = STORE

    def model_registry(self, place: str) -> PaperStore:
        return self

    def plan(self, card: ModelCard, digest: str) -> Planned:
        newest = str(len(self.versions))
        version = card.version or (newest if self.versions and self.versions[newest][1] == digest else str(len(self.versions) + 1))
        model, there = self.versions.get(version, (None, ""))
        if model and there != digest:
            raise VersionTaken("taken", "Name another.")
        return Planned(version, model)

    def register(self, folder: Path, digest: str, card: ModelCard, tell: Tell) -> RegisteredModel:
        if self.quicker:
            other = self.quicker.pop()
            self.versions[card.version] = (replace(_model(card), description="somebody else's"), other)
        model, there = self.versions.get(card.version, (None, digest))
        if there != digest:
            raise VersionTaken("taken", "Name another.")
        if model is None:
            self.uploads += 1
            parts = {f"file-{number}": (10, 10) for number in range(self.files)}
            tell(Moved("file-0", 10 * self.files, 10 * self.files, 4, parts))
        self.versions[card.version] = (_model(card), digest)
        return _model(card)

    def find(self, name: str, version: str = "") -> RegisteredModel | None:
        return None

    def listed(self, name: str = "") -> list[RegisteredModel]:
        return []

    def download(self, model: RegisteredModel, folder: Path, tell: Tell) -> None: ...


def _model(card: ModelCard) -> RegisteredModel:
    name = f"azureml:{card.name}:{card.version}"
    return RegisteredModel(card.name, card.version, name, "azureml://x", card.type, card.description, card.tags, card.properties)


@pytest.fixture
def store() -> PaperStore:
    return PaperStore()


@pytest.fixture
def home(tmp_path: Path, store: PaperStore) -> Packaged:
    made = packaged_home(tmp_path / "home", weights=1000)
    return replace(made, bench=replace(made.bench, cloud=lambda: store))


def publish(home: Packaged, **wish) -> Run:
    """The register step of a publishing run, done."""
    request = make_request(home.bench, PublishWish(home.name, store=STORE, **wish))
    request["steps"] = [step for step in request["steps"] if step["name"] == "register"]
    run = new_run(home.bench.settings.runs, "publish", "travel", lambda _: request)
    HostSteps(home.bench, run, {}).all_done()
    return run


def options(home: Packaged) -> dict:
    return make_request(home.bench, PublishWish(home.name, store=STORE))["steps"][0]["options"]


def recorded(home: Packaged) -> str:
    return next(artifact.sha256 for artifact in home.run.state().artifacts if artifact.kind == "model")


def test_the_version_the_content_and_where_it_came_from_are_left_in_the_runs_folder(home, store):
    run = publish(home, description="Answers about travel", tags={"stage": "trial"})
    left = {artifact.kind: artifact for artifact in run.state().artifacts}
    assert (left["registered"].path, left["registered"].sha256) == ("azureml:travel:1", recorded(home))
    told = json.loads((run.folder / "registered.json").read_text())
    assert (told["name"], told["version"], told["description"], told["tags"]) == ("travel", "1", "Answers about travel", {"stage": "trial"})
    assert told["properties"]["edge.content.sha256"] == recorded(home) and told["properties"]["edge.recipe"] == "travel"
    assert run.state().steps["register"].metrics["bytes_sent"] == 16


def test_the_same_content_again_keeps_its_number(home, store):
    publish(home)
    run = publish(home)
    assert [artifact.path for artifact in run.state().artifacts] == ["azureml:travel:1"]
    assert store.uploads == 1 and run.state().steps["register"].metrics["bytes_sent"] == 0
    assert "travel:1 holds this content already" in [event.message for event in events(run) if isinstance(event, StepProgress)]


def events(run: Run) -> list:
    return list(follow(run, lambda: False))


def test_where_no_version_was_asked_for_one_that_somebody_took_meanwhile_is_followed_by_the_next(home, store):
    store.quicker = ["another digest"]
    assert [artifact.path for artifact in publish(home).state().artifacts] == ["azureml:travel:2"]


def test_a_version_that_was_asked_for_and_is_taken_ends_the_step_with_its_name_as_the_cause(home, store):
    store.quicker = ["another digest"]
    run = publish(home, version="1")
    assert (run.state().status, store.versions["1"][1]) == ("failed", "another digest")
    failed = next(event for event in events(run) if type(event).__name__ == "StepFailed")
    assert (failed.cause, failed.hint) == ("VersionTaken", "Name another.")
    with pytest.raises(VersionTaken):
        look(home.bench, {**options(home), "version": "1"})


def test_files_whose_sizes_and_times_say_that_nobody_wrote_are_not_hashed_again(home):
    asked, weights = options(home), home.content / "model" / "model.onnx.data"
    weights.write_bytes(bytes(weights.stat().st_size))
    os.utime(weights, (0, 0))  # so that only a hash could tell
    assert content_digest(home.bench, asked) == recorded(home) != folder_digest(home.content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: (content / "model" / "model.onnx").write_bytes(b"b graph"),  # same size
        lambda content: (content / "model" / "more").write_bytes(b"1"),
        lambda content: (content / "model" / "model.onnx").unlink(),
    ],
)
def test_content_that_was_written_to_after_packaging_is_refused(home, spoil):
    asked = options(home)
    (home.content / "model" / "model.onnx").unlink()
    (home.content / "model" / "model.onnx").write_bytes(b"a graph")  # its own again: the build's has another name
    spoil(home.content)
    with pytest.raises(PublishError) as refused:
        content_digest(home.bench, asked)
    assert refused.value.message.endswith("are not those that were packaged and tried.")


def test_content_that_was_only_touched_is_hashed_and_taken(home):
    asked = options(home)
    os.utime(home.content / "device.json")
    assert content_digest(home.bench, asked) == folder_digest(home.content) == recorded(home)


def test_content_that_is_gone_is_told(home, tmp_path):
    with pytest.raises(PublishError, match="There is nothing to register"):
        content_digest(home.bench, {**options(home), "content": str(tmp_path / "gone")})


def test_of_a_great_many_files_an_event_tells_a_few(home, store):
    store.files = 1000
    told = [event for event in events(publish(home)) if isinstance(event, StepProgress)][-1]
    assert len(told.parts) == MOST_PARTS and told.done == told.total == 10_000
    assert told.message.startswith("1000 of 1000 files there, 4 B were there")


def test_a_job_says_nothing_of_its_secrets(home):
    assert "hidden" not in repr(Job(home.bench, home.run, "register", {}, {"password": "hidden"}))
