"""The direct push as publishing does it, into Debian's docker-registry: what moves, what stays after a cut, what is refused."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bench.counting_proxy import CountingProxy
from tests.packaged_home import Packaged, finished_build, package, packaged_home
from tests.services.fixtures import Registry, registry  # noqa: F401  fixture
from toolkit.core import reference
from toolkit.core.blob_upload import BlobUpload, Left, PieceSize
from toolkit.core.engine import Credentials
from toolkit.core.hoststeps import HostSteps
from toolkit.core.publish_plan import in_words, make_plan
from toolkit.core.publish_start import PublishWish, make_request
from toolkit.core.push_keeper import remembered
from toolkit.core.registry import Conversation
from toolkit.core.registry_session import Session
from toolkit.core.run import Run, new_run
from toolkit.core.second_request import SecondRequests
from toolkit.core.uploads import REMEMBERED_FILE, Uploads

MB = 1 << 20
WEIGHTS = 6 * MB


@dataclass
class Place:
    packaged: Packaged
    registry: Registry
    proxy: CountingProxy

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.registry.user, self.registry.password)

    @property
    def secrets(self) -> dict[str, str]:
        return {"username": self.registry.user, "password": self.registry.password}

    def target(self, repository: str = "travel") -> str:
        return f"{self.proxy.address}/{repository}:1"

    def run(self, packaged: Packaged | None = None, repository: str = "travel", **changed: str) -> Run:
        of = packaged or self.packaged
        request = make_request(of.bench, PublishWish(of.name, self.target(repository), self.registry.user))
        for step in request["steps"]:
            step["options"] |= changed
        return new_run(of.bench.settings.runs, "publish", "travel", lambda _: request)

    def publish(self, packaged: Packaged | None = None, repository: str = "travel") -> Run:
        run = self.run(packaged, repository)
        assert self.do(run), run.state().problem
        return run

    def do(self, run: Run) -> bool:
        return HostSteps(self.packaged.bench, run, self.secrets).all_done()


@pytest.fixture
def place(tmp_path: Path, registry: Registry) -> Iterator[Place]:  # noqa: F811
    proxy = CountingProxy(("127.0.0.1", registry.port))
    yield Place(packaged_home(tmp_path / "home", WEIGHTS), registry, proxy)
    proxy.shutdown()
    proxy.server_close()


def metrics(run: Run, step: str) -> dict:
    return json.loads((run.folder / "steps" / step / "done").read_text())


def test_the_image_that_was_packaged_is_the_one_that_is_there(place):
    run = place.publish()
    assert run.request["steps"][0]["options"]["via"] == "direct"
    layout = place.packaged.layout
    with Conversation(reference.parse(place.target()), place.credentials) as talk:
        there = talk.stored()
    assert (there.digest, there.config, there.layers) == (layout.manifest, layout.config, layout.diff_ids)
    made = {f"sha256:{artifact.sha256}" for artifact in place.packaged.run.state().artifacts if artifact.kind == "image"}
    assert there.config in made, "its configuration is what packaging recorded"
    [release] = [artifact for artifact in run.state().artifacts if artifact.kind == "release"]
    assert release.path == f"{place.proxy.address}/travel@{layout.manifest}"
    assert place.proxy.sent < layout.bytes + 20_000, "and every byte went once"


def test_progress_names_the_layers_and_ends_whole(place):
    parts = place.publish().state().steps["push"].parts
    assert "model" in parts and "adapter travel" in parts
    assert all(done == total for done, total in parts.values())


def test_unchanged_content_published_again_moves_less_than_twenty_kilobytes(place):
    place.publish()
    before, stored = place.proxy.sent, place.registry.stored_bytes()
    again = place.publish()
    assert place.proxy.sent - before < 20_000 and place.registry.stored_bytes() == stored
    assert metrics(again, "push")["layers_pushed"] == 0


def test_the_plan_knows_exactly_what_moves_and_asks_no_engine(place):
    bench, layout = place.packaged.bench, place.packaged.layout
    before = make_plan(bench, place.packaged.name, place.target(), place.credentials)
    assert {planned.status for planned in before.layers} == {"missing"}
    assert before.unpacked_bytes == before.packed_bytes == layout.bytes and before.via == "direct"
    place.publish()
    after = make_plan(bench, place.packaged.name, place.target(), place.credentials)
    assert (after.tag, after.to_move) == ("same", ())
    elsewhere = make_plan(bench, place.packaged.name, place.target("other"), place.credentials)
    assert {planned.mounts for planned in elsewhere.layers} == {"travel"} and "the registry has in travel" in in_words(elsewhere)


def test_another_repository_of_the_registry_takes_the_layers_over(place):
    place.publish()
    before = place.proxy.sent
    run = place.publish(repository="other/travel")
    assert place.proxy.sent - before < 40_000
    assert metrics(run, "push")["layers_pushed"] == 0


def test_a_build_with_one_new_adapter_moves_that(place):
    place.publish()
    again = package(place.packaged.bench, finished_build(place.packaged.bench, weights=1000))
    before = place.proxy.sent
    place.publish(again)
    assert place.proxy.sent - before < 40_000


def test_a_layout_of_another_image_than_the_one_tried_is_refused_before_a_byte_moves(place):
    run = place.run(image_id="sha256:" + "0" * 64)
    assert not place.do(run)
    assert "that was tried" in run.state().problem and place.proxy.sent == 0


def test_another_image_under_the_tag_than_the_one_tried_is_refused(place):
    """Such as by an engine that changed it on its way."""
    run = place.publish()
    request = json.loads((run.folder / "request.json").read_text())
    for step in request["steps"]:
        step["options"]["image_id"] = "sha256:" + "0" * 64
    (run.folder / "request.json").write_text(json.dumps(request))
    (run.folder / "steps" / "verify" / "done").unlink()
    again = Run(run.folder)
    assert not place.do(again)
    assert "holds another image" in again.state().problem


def test_neither_the_password_nor_a_location_is_in_the_runs_folder(place):
    run = place.publish()
    words = (place.registry.password.encode(), b"_state=")
    assert [path for path in run.folder.rglob("*") if path.is_file() and any(word in path.read_bytes() for word in words)] == []


def upload(place: Place, session: Session, file: Path) -> tuple[BlobUpload, int]:
    """Of the model's layer, a megabyte a piece."""
    [model] = [layer for layer in place.packaged.layout.layers if layer.name == "model"]
    piece = PieceSize(MB, MB, MB)
    return BlobUpload(session, Uploads(file), model.digest, place.packaged.layout.blob(model.digest), model.size, piece), model.size


def until(holds: Callable[[], bool]) -> None:
    """The registry takes a moment to see that somebody is gone."""
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Enough(Exception):
    """As good as a kill."""


def test_a_push_killed_between_pieces_goes_on_at_the_next_one(place, tmp_path):
    """This registry has what it answered for, whoever asks next."""
    session, file = Session(reference.parse(place.target()), place.credentials), tmp_path / REMEMBERED_FILE
    first, size = upload(place, session, file)

    def until_five(done: int) -> None:
        if done >= 5 * MB:
            raise Enough

    with pytest.raises(Enough):
        first.send(until_five)
    before = place.proxy.sent
    second, _ = upload(place, session, file)
    second.send(lambda done: None)
    assert place.proxy.sent - before < size - 5 * MB + 20_000
    session.close()


def test_this_registry_loses_an_upload_that_is_cut_inside_a_piece(place, tmp_path):
    """If it ever does not, a layer need not begin anew here."""
    session, file = Session(reference.parse(place.target()), place.credentials), tmp_path / REMEMBERED_FILE
    first, _ = upload(place, session, file)

    def inside(done: int) -> None:
        if done >= 5 * MB + MB // 2:
            raise Enough

    with pytest.raises(Enough):
        first.send(inside)
    until(lambda: b"BLOB_UPLOAD_INVALID" in session.ask("GET", Uploads(file).location(first.key), (204, 404)).content)
    second, _ = upload(place, session, file)
    second.send(lambda done: None)
    assert second.is_there()
    session.close()


def test_a_cut_inside_a_piece_costs_that_piece_where_another_connection_lives(place, tmp_path):
    """As behind a gateway that ends requests."""
    session = Session(reference.parse(place.target()), place.credentials)
    [model] = [layer for layer in place.packaged.layout.layers if layer.name == "model"]
    second = SecondRequests(session, tmp_path, least=0)
    sent = BlobUpload(
        session, Uploads(tmp_path / "u"), model.digest, place.packaged.layout.blob(model.digest), model.size, PieceSize(MB, MB, MB), second
    )
    place.proxy.cut_at = 4 * MB + MB // 2
    sent.send(lambda done: None)
    assert place.proxy.cut_at == 0 and sent.is_there()
    assert place.proxy.sent < model.size + MB + 300_000
    second.close()
    session.close()


STUCK = """
import sys, time
from pathlib import Path
from toolkit.core import oci_layout, reference
from toolkit.core.blob_upload import BlobUpload, Left, PieceSize
from toolkit.core.engine import Credentials
from toolkit.core.push_keeper import remembered
from toolkit.core.registry_session import Session
from toolkit.core.second_request import SecondRequests

folder, target, layout, digest = Path(sys.argv[1]), reference.parse(sys.argv[2]), oci_layout.read(Path(sys.argv[3])), sys.argv[4]
session, path = Session(target, Credentials("edge", "not-a-secret")), layout.blob(digest)

def until_inside(done):
    if done >= 4.5 * 2**20:
        print("inside", flush=True)
        time.sleep(600)

second, piece = SecondRequests(session, folder, least=0), PieceSize(2**20, 2**20, 2**20)
BlobUpload(session, remembered(folder), digest, path, path.stat().st_size, piece, second).send(until_inside)
"""


def test_a_push_killed_inside_a_piece_goes_on_after_it(place, tmp_path):
    """Another process sees that we are gone, and sends the piece to its end."""
    folder = tmp_path / "run"
    folder.mkdir()
    [model] = [layer for layer in place.packaged.layout.layers if layer.name == "model"]
    argv = [sys.executable, "-c", STUCK, str(folder), place.target(), str(place.packaged.layout.folder), model.digest]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "inside\n"
    child.kill()
    child.wait()
    child.stdout.close()
    session = Session(reference.parse(place.target()), place.credentials)
    uploads = remembered(folder)
    sent = BlobUpload(session, uploads, model.digest, place.packaged.layout.blob(model.digest), model.size, PieceSize(MB, MB, MB))
    sent.send(lambda done: None)
    assert sent.is_there() and sent.sent == model.size - 5 * MB
    assert place.proxy.sent < model.size + MB + 300_000
    session.close()


def test_a_push_that_is_stopped_ends_its_piece_first(place, tmp_path):
    session = Session(reference.parse(place.target()), place.credentials)
    [model] = [layer for layer in place.packaged.layout.layers if layer.name == "model"]
    blob, second = place.packaged.layout.blob(model.digest), SecondRequests(session, tmp_path, least=0)

    def upload_of() -> BlobUpload:
        return BlobUpload(session, remembered(tmp_path), model.digest, blob, model.size, PieceSize(MB, MB, MB), second)

    def leave(done: int) -> None:
        if done >= 4 * MB + MB // 2:
            raise Left

    with pytest.raises(Left):
        upload_of().send(leave)
    second.close()
    again = upload_of()
    again.send(lambda done: None)
    assert again.is_there() and again.sent == model.size - 5 * MB
    session.close()


def test_the_process_that_holds_requests_back_gets_no_password_by_argument_or_variable(place, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_REGISTRY_PASSWORD", place.registry.password)
    session = Session(reference.parse(place.target()), place.credentials)
    [model] = [layer for layer in place.packaged.layout.layers if layer.name == "model"]
    second, seen = SecondRequests(session, tmp_path, least=0), set()

    def look(done: int) -> None:
        keepers = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in read(path)]
        seen.update(read(path) + read(path.with_name("environ")) for path in keepers)

    blob = place.packaged.layout.blob(model.digest)
    BlobUpload(session, Uploads(tmp_path / "u"), model.digest, blob, model.size, PieceSize(2 * MB, MB, 2 * MB), second).send(look)
    second.close()
    session.close()
    assert any(b"push_keeper" in words for words in seen)
    basic = base64.b64encode(f"{place.registry.user}:{place.registry.password}".encode())
    assert not [words for words in seen if place.registry.password.encode() in words or basic in words]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended meanwhile
        return b""
