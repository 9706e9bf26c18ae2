"""An image goes from its layout into registries as strict, as busy and as forgetful as real ones are."""

from __future__ import annotations

import json
import logging
import random
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.strict_registry import HALF, LOST, NOTHING, Fault, StrictRegistry
from toolkit.core import oci_layout, reference
from toolkit.core.blob_upload import BlobUpload, PieceSize
from toolkit.core.direct_push import DirectPush
from toolkit.core.engine import Credentials, PushProgress
from toolkit.core.oci_layout import Blobs, Layout, StoredLayer
from toolkit.core.registry_session import Patience, Session
from toolkit.core.second_request import Piece, SecondRequests
from toolkit.core.uploads import Uploads
from toolkit.errors import PublishError, RegistryDenied

MB = 1 << 20
MODEL_BYTES = 5 * MB
WHO = Credentials("edge", "not-a-secret")


@pytest.fixture
def registry() -> Iterator[StrictRegistry]:
    with StrictRegistry().running() as service:
        yield service


def laid_out(folder: Path, model: int = MODEL_BYTES) -> Layout:
    """An image of a model that does not compress, two small layers, and one that is there twice."""
    blobs, bytes_of = Blobs(folder), random.Random(7).randbytes
    content = {"python": bytes_of(3000), "model": bytes_of(model), "adapter travel": bytes_of(900)}
    layers = [StoredLayer(name, blobs.put(value), len(value)) for name, value in content.items()]
    layers.append(StoredLayer("again", layers[0].digest, layers[0].size))
    history = [{"created_by": f"edge package: {layer.name}"} for layer in layers]
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": [layer.digest for layer in layers]}, "history": history}
    return oci_layout.finish(folder, blobs, "edge/x:1", json.dumps(config).encode(), layers)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return laid_out(tmp_path / "image")


def piece() -> PieceSize:
    """A fifth of the model goes in one request."""
    return PieceSize(MB, 64 << 10, MB)


class Pushes:
    """Pushes a layout, noting what it was told and how long it would have waited."""

    def __init__(self, registry: StrictRegistry, layout: Layout, folder: Path) -> None:
        self.registry, self.layout, self.file = registry, layout, folder / "uploads.json"
        self.told: list[PushProgress] = []
        self.waits: list[float] = []
        self.sent = 0

    def push(self, access=None, repository: str = "travel", sources=None, tries: int = 6) -> str:
        target = reference.parse(f"{self.registry.address}/{repository}:1")
        way = DirectPush(self.layout, access, Uploads(self.file), sources, Patience(tries=tries), self.waits.append, piece)
        try:
            *told, digest = way.push(target)
        finally:
            self.sent = way.sent
        self.told = [step for step in told if isinstance(step, PushProgress)]
        assert self.registry.wrongs == []
        return digest

    def holds_all(self, repository: str = "travel") -> bool:
        names = [self.layout.config, *self.layout.diff_ids]
        has = all(self.registry.blobs.get((repository, name)) == self.layout.blob(name).read_bytes() for name in names)
        return has and self.registry.tags.get((repository, "1")) == self.layout.manifest

    def statuses(self) -> dict[str, str]:
        return {step.layer: step.status for step in self.told}


@pytest.fixture
def pushes(registry: StrictRegistry, layout: Layout, tmp_path: Path) -> Pushes:
    return Pushes(registry, layout, tmp_path)


def test_every_blob_arrives_once_and_the_digest_is_the_layouts(pushes, registry, layout):
    assert pushes.push() == layout.manifest
    assert pushes.holds_all()
    whole = MODEL_BYTES + 3000 + 900 + layout.blob(layout.config).stat().st_size
    assert pushes.sent == whole
    assert registry.bytes_in == whole + layout.blob(layout.manifest).stat().st_size
    assert not pushes.file.exists(), "nothing is left to go on with"


def test_progress_of_each_layer_ends_whole_and_never_overshoots(pushes, layout):
    pushes.push()
    model = [step for step in pushes.told if step.total == MODEL_BYTES]
    assert [step.done for step in model] == sorted(step.done for step in model)
    assert model[-1].done == MODEL_BYTES
    assert set(pushes.statuses().values()) == {"Pushed"}


def test_unchanged_content_moves_nothing_the_second_time(pushes, registry):
    pushes.push()
    registry.requests.clear()
    registry.bytes_in = 0
    pushes.push()
    assert (registry.requests, registry.bytes_in) == ([("HEAD", "/v2/travel/manifests/1")], 0)
    assert set(pushes.statuses().values()) == {"Layer already exists"}


def test_only_what_the_registry_lacks_moves(pushes, registry, layout):
    model = layout.layers[1]
    registry.blobs["travel", model.digest] = layout.blob(model.digest).read_bytes()
    pushes.push()
    assert pushes.holds_all() and pushes.sent < 10_000


def test_a_layer_of_another_repository_is_mounted_and_does_not_move(pushes, registry, layout):
    pushes.push(repository="old")
    registry.bytes_in = 0
    pushes.push(sources={digest: ["gone", "old"] for digest in layout.diff_ids})
    assert pushes.holds_all() and registry.bytes_in < 10_000
    assert "Mounted from old" in pushes.statuses().values()


def test_a_repository_that_may_not_be_read_is_no_reason_to_fail(pushes, registry, layout):
    registry.sign_in = "token"
    pushes.push(WHO, repository="old")
    registry.private.add("old")
    pushes.push(WHO, sources={digest: ["old"] for digest in layout.diff_ids})
    assert pushes.holds_all()


@pytest.mark.parametrize(("keeps", "moves_again"), [(HALF, MB // 2), (NOTHING, MB)])
def test_after_a_cut_inside_a_piece_no_more_than_that_piece_moves_again(pushes, registry, keeps, moves_again):
    registry.keeps = keeps
    registry.faults.append(Fault("PATCH", cut_after=MB // 2 + 1000, skip=4))
    pushes.push()
    assert pushes.holds_all()
    again = registry.bytes_in - MODEL_BYTES
    assert 0 < again < moves_again + 20_000
    assert registry.count("GET", "uploads") == 1 and len(pushes.waits) == 1


def test_where_a_cut_loses_the_upload_the_layer_begins_anew(pushes, registry):
    registry.keeps = LOST
    registry.faults.append(Fault("PATCH", cut_after=MB // 2, skip=4))
    pushes.push()
    assert pushes.holds_all() and registry.bytes_in > MODEL_BYTES + 4 * MB


def test_a_lost_answer_to_a_piece_costs_nothing(pushes, registry):
    registry.keeps = HALF
    registry.faults.append(Fault("PATCH", cut_after=MB, skip=2))
    pushes.push()
    assert pushes.holds_all() and registry.bytes_in < MODEL_BYTES + 20_000


def test_a_lost_answer_to_the_last_word_costs_nothing(pushes, registry):
    registry.faults.append(Fault("PUT", "blobs/uploads", cut_after=0, times=2))
    pushes.push()
    assert pushes.holds_all() and registry.bytes_in < MODEL_BYTES + 20_000


def dies_at(pushes: Pushes, registry: StrictRegistry, piece: int) -> None:
    """An attempt that ends as a killed one does: in the middle, with nothing tidied."""
    registry.faults.append(Fault("PATCH", cut_after=1000, times=99, skip=piece))
    with pytest.raises(PublishError, match="went away: the connection was cut") as told:
        pushes.push(tries=2)
    assert "edge resume" in told.value.hint
    registry.faults.clear()
    registry.bytes_in = 0


@pytest.mark.parametrize("keeps", [HALF, NOTHING])
def test_the_next_attempt_goes_on_at_the_missing_piece(pushes, registry, keeps):
    registry.keeps = keeps
    dies_at(pushes, registry, 4)
    pushes.push()
    assert pushes.holds_all() and registry.bytes_in < MB + 20_000


def test_what_is_remembered_of_an_upload_is_for_its_owner_only(pushes, registry):
    dies_at(pushes, registry, 2)
    assert stat.S_IMODE(pushes.file.stat().st_mode) == 0o600
    assert "secret-" in pushes.file.read_text()


def test_an_upload_that_the_registry_forgot_meanwhile_begins_anew(pushes, registry):
    dies_at(pushes, registry, 4)
    registry.forget_uploads()
    pushes.push()
    assert pushes.holds_all()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 416, 422])
def test_whatever_a_registry_has_against_a_remembered_upload_it_gets_another(pushes, registry, status):
    dies_at(pushes, registry, 4)
    registry.faults.append(Fault("GET", "uploads", status))
    pushes.push()
    assert pushes.holds_all()


def test_a_remembered_upload_is_gone_on_with_and_not_mounted(pushes, registry, layout):
    pushes.push(repository="old")
    dies_at(pushes, registry, 4)
    model = layout.layers[1].digest
    pushes.push(sources={model: ["old"]})
    assert pushes.holds_all() and "Mounted from old" not in pushes.statuses().values()


def test_what_got_muddled_is_sent_anew_whole(pushes, registry, layout):
    dies_at(pushes, registry, 4)
    [upload] = [upload for upload in registry._uploads.values() if len(upload.content) > 4 * MB]
    upload.content[0] ^= 1
    target = reference.parse(f"{registry.address}/travel:1")
    list(DirectPush(layout, None, Uploads(pushes.file), sleep=pushes.waits.append, piece=piece).push(target))
    assert pushes.holds_all()


def test_a_damaged_file_is_told_and_not_sent_for_ever(pushes, registry, layout):
    path = layout.blob(layout.layers[1].digest)
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    with pytest.raises(PublishError, match="got other bytes") as told:
        pushes.push()
    assert "edge package" in told.value.hint
    assert registry.bytes_in < 2 * MODEL_BYTES and ("travel", "1") not in registry.tags


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_registry_is_waited_for_as_long_as_it_asks(pushes, registry, status):
    registry.faults.append(Fault("PATCH", status=status, headers={"Retry-After": "7"}, skip=1, times=2))
    pushes.push()
    assert pushes.holds_all() and pushes.waits == [7, 7]


def test_a_quota_of_requests_is_waited_for_and_is_no_full_registry(pushes, registry):
    said = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"quota of requests exceeded"}]}'
    registry.faults.append(Fault("POST", status=429, headers={"Retry-After": "3"}, body=said))
    pushes.push()
    assert pushes.holds_all() and pushes.waits == [3]


def test_a_blob_that_a_registry_keeps_at_a_store_is_there(pushes, registry, layout, tmp_path):
    registry.faults.append(Fault("HEAD", "blobs", status=307, headers={"Location": "https://store.invalid/blob"}))
    session = Session(reference.parse(f"{registry.address}/travel:1"), None)
    assert BlobUpload(session, Uploads(tmp_path / "u"), layout.config, layout.blob(layout.config), 1).is_there()
    session.close()


def test_without_a_word_of_when_it_is_waited_longer_each_time(pushes, registry):
    registry.faults.append(Fault("HEAD", "manifests", status=502, times=4))
    pushes.push()
    assert pushes.holds_all() and len(pushes.waits) == 4
    assert all(0.25 * 2**n <= wait <= 0.5 * 2**n for n, wait in enumerate(pushes.waits))


def test_a_registry_that_stays_busy_is_given_up(pushes, registry):
    registry.faults.append(Fault("PATCH", status=503, times=99))
    with pytest.raises(PublishError, match="went away: it answered 503"):
        pushes.push()
    assert len(pushes.waits) == 5


def test_one_that_never_answered_may_be_a_name_that_was_mistyped(layout, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        target = reference.parse(f"127.0.0.1:{taken.getsockname()[1]}/travel:1")
        way = DirectPush(layout, None, Uploads(tmp_path / "u"), None, Patience(tries=2), lambda _: None)
        with pytest.raises(PublishError, match="cannot be reached: nobody answers there") as told:
            list(way.push(target))
    assert "Check its name" in told.value.hint and "edge resume" in told.value.hint


def test_one_that_wants_us_to_come_back_tomorrow_is_not_waited_for(pushes, registry):
    registry.faults.append(Fault("PATCH", status=429, headers={"Retry-After": "86400"}))
    with pytest.raises(PublishError, match="went away"):
        pushes.push()
    assert pushes.waits == []


def test_a_full_registry_is_told_at_once(pushes, registry):
    registry.quota = 3 * MB
    with pytest.raises(PublishError, match="no room") as told:
        pushes.push()
    assert "Remove old images" in told.value.hint and pushes.waits == []


def test_where_large_pieces_are_refused_smaller_ones_go(pushes, registry):
    registry.most_piece = 300_000
    pushes.push()
    assert pushes.holds_all()


def test_pieces_are_as_large_as_the_registry_asks(pushes, registry):
    registry.least_piece, registry.keeps = 3 * MB, HALF
    registry.faults.append(Fault("PATCH", cut_after=MB))
    pushes.push()
    assert pushes.holds_all() and registry.count("PATCH") == 3


def test_uploads_at_a_store_never_see_our_credentials(pushes, registry):
    registry.sign_in, registry.has_store = "basic", True
    registry.faults.append(Fault("PATCH", cut_after=MB // 2, skip=2))
    pushes.push(WHO)
    assert pushes.holds_all()


def test_a_store_that_asks_for_a_password_gets_none(pushes, registry):
    registry.sign_in, registry.has_store = "basic", True
    asks = {"WWW-Authenticate": f'Bearer realm="http://{registry.address}/token",service="strict"'}
    registry.faults.append(Fault("PATCH", status=401, headers=asks, times=99))
    with pytest.raises(PublishError):
        pushes.push(WHO)
    assert registry.count("GET", "/token") == 0


def test_a_token_that_ends_in_the_middle_is_renewed(pushes, registry):
    registry.sign_in = "token"
    registry.faults.append(Fault("PATCH", status=401, headers=asks_for(registry), skip=3))
    pushes.push(WHO)
    assert pushes.holds_all() and registry.count("GET", "/token") >= 2


def asks_for(registry: StrictRegistry) -> dict[str, str]:
    return {"WWW-Authenticate": f'Bearer realm="http://{registry.address}/token",service="strict",scope="repository:travel:push"'}


def test_tokens_without_a_life_are_renewed_before_a_large_piece_goes_for_nothing(pushes, registry):
    registry.sign_in, registry.token_seconds = "token", 0.0
    registry.says_life = True
    with pytest.raises(RegistryDenied):  # none of its tokens is ever good: it is not asked for ever
        pushes.push(WHO)
    assert registry.bytes_in < 10_000


def test_a_token_is_asked_for_what_the_push_needs_and_nothing_else(pushes, registry, layout):
    registry.sign_in = "token"
    pushes.push(WHO, sources={layout.diff_ids[0]: ["old"]})
    assert set(registry.scopes) == {"repository:travel:pull,push", "repository:old:pull"}


class Changing:
    """A cloud's sign-in whose first password is refused."""

    def __init__(self) -> None:
        self.asked: list[bool] = []

    def __call__(self, is_refused: bool = False) -> Credentials:
        self.asked.append(is_refused)
        return Credentials("edge", "not-a-secret" if any(self.asked) else "old")


@pytest.mark.parametrize("way", ["basic", "token"])
def test_a_clouds_sign_in_is_asked_anew_when_its_password_was_refused(pushes, registry, way):
    registry.sign_in, access = way, Changing()
    pushes.push(access)
    assert pushes.holds_all() and access.asked[:2] == [False, True]


@pytest.mark.parametrize("way", ["basic", "token"])
def test_a_wrong_password_is_told_and_not_tried_for_ever(pushes, registry, way):
    registry.sign_in = way
    with pytest.raises(RegistryDenied, match="refused the credentials"):
        pushes.push(Credentials("edge", "wrong"))
    assert len(registry.requests) < 8 and pushes.waits == []


def test_what_is_no_registry_is_told(pushes, registry):
    registry.faults.append(Fault("POST", status=202, body=b"<html>welcome</html>", times=99))
    with pytest.raises(PublishError, match="is no registry"):
        pushes.push()


def test_a_registry_that_calls_the_image_otherwise_is_refused(pushes, registry):
    registry.faults.append(Fault("PUT", "manifests", status=201, headers={"Docker-Content-Digest": "sha256:other"}))
    with pytest.raises(PublishError, match="calls the image sha256:other"):
        pushes.push()


def test_an_endless_answer_is_not_read_to_its_end(pushes, registry):
    registry.faults.append(Fault("POST", status=400, body=b"x" * (32 * MB), times=1))
    with pytest.raises(PublishError, match="it answered 400"):
        pushes.push()


def test_nothing_said_of_a_push_names_a_location(pushes, registry, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.DEBUG)
    registry.faults.append(Fault("PATCH", cut_after=1000, times=99, skip=2))
    with pytest.raises(PublishError) as told:
        pushes.push(tries=2)
    said = f"{told.value} {told.value.__cause__} {told.value.__context__!r} {caplog.text} {pushes.told}"
    assert "secret-" not in said
    assert "secret-" in pushes.file.read_text(), "there was one to be named"


def test_one_failed_layer_ends_the_others(pushes, registry, layout):
    registry.faults.append(Fault("PATCH", status=403, body=b'{"errors":[{"code":"DENIED"}]}'))
    with pytest.raises(RegistryDenied, match="does not let you push") as told:
        pushes.push()
    assert "AcrPush" in told.value.hint and registry.count("PATCH") == 1


def test_a_push_that_nobody_listens_to_any_more_ends(pushes, registry, layout):
    target = reference.parse(f"{registry.address}/travel:1")
    steps = DirectPush(layout, None, Uploads(pushes.file), piece=piece).push(target)
    next(steps)
    steps.close()
    before = registry.bytes_in
    assert before < MODEL_BYTES + 20_000 and ("travel", "1") not in registry.tags


def test_a_layer_of_no_bytes_arrives(registry, tmp_path):
    blobs = Blobs(tmp_path / "image")
    layers = [StoredLayer("empty", blobs.put(b""), 0)]
    layout = oci_layout.finish(tmp_path / "image", blobs, "edge/x:1", b'{"architecture": "amd64", "os": "linux"}', layers)
    pushes = Pushes(registry, layout, tmp_path)
    pushes.push()
    assert pushes.holds_all()


def test_a_piece_is_what_the_line_carries_in_a_few_seconds():
    piece = PieceSize(bytes=16 * MB, least=MB, most=128 * MB, seconds=4)
    sizes = []
    for seconds in (0.1, 0.1, 0.1, 0.1, 4, 40, 40, 40, 40, 40, 40, 40, 40):
        piece.took(piece.bytes, seconds)
        sizes.append(piece.bytes // MB)
    assert sizes == [32, 64, 128, 128, 128, 64, 32, 16, 8, 4, 2, 1, 1]
    piece.took(1000, 0.001)
    assert piece.bytes == MB, "the last of a blob says nothing of the line"


def test_a_bad_line_gets_smaller_pieces(pushes, registry):
    registry.keeps = NOTHING
    registry.faults.append(Fault("PATCH", cut_after=200_000, times=4))
    pushes.push()
    assert pushes.holds_all() and registry.bytes_in < MODEL_BYTES + 900_000


@pytest.mark.parametrize("keeps", [HALF, NOTHING, LOST])
def test_where_two_requests_for_a_piece_do_not_go_together_one_is_made(registry, keeps, tmp_path):
    """This one serves an upload's requests one after another, and would wait for the one that is held back."""
    registry.keeps = keeps
    session = Session(reference.parse(f"{registry.address}/travel:1"), None)
    second = SecondRequests(session, tmp_path, least=0, seconds=0.3)
    piece_of_nothing = Piece("key", tmp_path, 0, 1, "http://never.asked/", {})
    assert second.held_back(MB, piece_of_nothing) is None
    asked = len(registry.requests)
    assert second.held_back(MB, piece_of_nothing) is None
    assert len(registry.requests) == asked, "found out once"
    session.close()
