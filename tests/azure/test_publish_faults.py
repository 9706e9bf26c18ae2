"""`edge publish` as people run it, while things go wrong on the way: what it says, how soon, and what moves again."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.azure.arm import ACR, BLOBS, ML
from tests.azure.faults import Fault
from tests.azure.lab import Lab
from tests.azure.publisher import Publisher, waited
from tests.cli.desk import Desk
from tests.packaged_home import packaged_home
from toolkit.errors import ExitCode

MB = 1 << 20
PIECES, BLOCKS = r"/blobs/uploads/", r"comp=block&"
WEIGHTS = 48 * MB
OVERHEAD = MB // 4
"""Manifests, configurations and small talk."""
QUOTA = b'{"errors":[{"code":"DENIED","message":"storage quota exceeded"}]}'


@pytest.fixture
def publisher(signed_in: Lab, desk: Desk) -> Iterator[Publisher]:
    """With a small model. Whatever goes wrong, no secret may stand anywhere afterwards."""
    made = Publisher(signed_in, desk, packaged_home(desk.home))
    yield made
    desk.leave()
    assert signed_in.leaks(desk.home, *made.said) == []


@pytest.fixture
def big(signed_in: Lab, desk: Desk) -> Iterator[Publisher]:
    """With a model of 48 MB: several pieces and blocks."""
    made = Publisher(signed_in, desk, packaged_home(desk.home, weights=WEIGHTS))
    yield made
    desk.leave()
    assert signed_in.leaks(desk.home, *made.said) == []


def size(publisher: Publisher) -> int:
    """Bytes of the image's layers."""
    return sum(layer.size for layer in publisher.packaged.layout.layers)


def test_a_connection_cut_in_mid_layer_costs_the_piece_and_no_more(big):
    big.lab.registry.takes_whole_pieces = True
    cut = big.lab.registry.fault(Fault("PATCH", PIECES, cut_after=MB, skip=1))
    assert big.publish().returncode == 0
    assert cut.reached.is_set() and big.is_published()
    assert big.lab.registry.bytes_in <= size(big) + MB + OVERHEAD


def test_a_registry_that_drops_an_upload_that_was_cut_gets_it_anew(big):
    cut = big.lab.registry.fault(Fault("PATCH", PIECES, cut_after=MB, skip=1))
    assert big.publish().returncode == 0
    assert cut.reached.is_set() and big.is_published()


def test_a_connection_cut_in_mid_blob_costs_the_block_and_no_more(big):
    cut = big.lab.blobs.fault(Fault("PUT", BLOCKS, cut_after=1000, skip=2))
    assert big.publish().returncode == 0
    assert cut.reached.is_set() and big.is_published()
    longest = max(call.body_bytes for call in big.lab.blobs.asked("PUT"))
    assert big.lab.blobs.bytes_in <= 51 * MB + longest + OVERHEAD


def test_an_answer_that_is_lost_at_the_end_does_no_harm(publisher):
    """The registry has the manifest, and Azure ML the version: both are found when we come back."""
    publisher.lab.registry.fault(Fault("PUT", "/manifests/", cut_after=MB))
    publisher.lab.cloud.fault(Fault("PUT", "/models/travel/versions/", cut_after=MB))
    assert publisher.publish().returncode == 0
    assert publisher.is_published() and list(publisher.lab.cloud.models.names["travel"]) == ["1"]


@pytest.mark.parametrize("status", [429, 503])
def test_what_is_busy_is_asked_again_when_it_says(publisher, status):
    later = {"Retry-After": "1"}
    publisher.lab.registry.fault(Fault("POST", PIECES, status, later))
    publisher.lab.blobs.fault(Fault("PUT", "", status, later))
    publisher.lab.cloud.fault(Fault("PUT", "/models/travel/versions/", status, later))
    assert publisher.publish().returncode == 0
    assert publisher.is_published()
    uploads, registered = publisher.lab.registry.asked("POST", "uploads"), publisher.lab.cloud.asked("PUT", "/versions/")
    assert uploads[0].status == registered[0].status == status
    assert waited(registered) >= 1


def test_a_registry_token_that_ends_in_mid_push_is_renewed(big):
    big.lab.registry.takes_whole_pieces = True
    paused = big.lab.registry.fault(Fault("PATCH", PIECES, pause_after=0))
    publishing = big.start()
    assert paused.reached.wait(60)
    big.lab.registry.forget_sign_ins()
    paused.go.set()
    code, said = big.ended(publishing)
    assert (code, big.is_published()) == (0, True), said
    first_refusal = next(n for n, call in enumerate(big.lab.registry.calls) if call.status == 401 and call.bearer)
    assert ("POST", "/oauth2/exchange") in big.lab.registry.requests[first_refusal:]
    longest = max(call.body_bytes for call in big.lab.registry.asked("PATCH"))
    small = size(big) - WEIGHTS  # a piece of each layer may have been under way; no more than that was refused
    assert big.lab.registry.bytes_in <= size(big) + longest + small + OVERHEAD


def test_a_storage_that_lets_us_read_only_is_told_within_five_seconds(publisher):
    publisher.lab.cloud.default_store = "for_readers"
    assert publisher.publish().returncode != 0
    step, error, hint = publisher.failure()
    assert step == "register" and "read, write and list" in hint, (error, hint)
    assert publisher.seconds_to_fail() < 5
    assert publisher.lab.cloud.model("travel", "1") is None


@pytest.mark.parametrize(
    ("scope", "action", "role"),
    [
        ("labacr", f"{ACR}/push/write", "AcrPush"),
        ("workspaces/lab", f"{ML}/workspaces/*", "AzureML Data Scientist"),
        ("labstore", f"{BLOBS}/containers/blobs/*", "Storage Blob Data Contributor"),
    ],
)
def test_a_missing_right_is_named_before_any_byte_moves(publisher, scope, action, role):
    publisher.lab.cloud.default_store = "by_identity"
    publisher.lab.cloud.deny_actions(scope, action)
    ended = publisher.publish()
    assert ended.returncode == ExitCode.CLOUD and role in ended.stdout + ended.stderr
    assert publisher.failure()[0] == "rights"
    assert [
        call for front in (publisher.lab.registry, publisher.lab.blobs) for verb in ("PUT", "PATCH") for call in front.asked(verb)
    ] == []


def test_other_bytes_under_a_version_that_is_there_are_refused_before_they_move(publisher, desk):
    assert publisher.publish("--version", "1").returncode == 0
    other = Publisher(publisher.lab, desk, packaged_home(desk.home))
    publisher.forget()
    ended = other.publish("--version", "1", "--no-push", where=other_where())
    assert ended.returncode == ExitCode.PUBLISH, ended.stdout + ended.stderr
    assert publisher.lab.blobs.asked("PUT") == [] and publisher.is_published()


def other_where() -> tuple[str, ...]:
    from tests.azure.publisher import WORKSPACE

    return ("--workspace", WORKSPACE)


@pytest.mark.parametrize("fault", [Fault("POST", PIECES, 507, times=99), Fault("", PIECES, 403, {}, QUOTA, times=99)], ids=["507", "quota"])
def test_a_registry_that_is_full_is_told(publisher, fault):
    publisher.lab.registry.fault(fault)
    assert publisher.publish().returncode != 0
    step, error, hint = publisher.failure()
    assert step == "push" and "no room" in error and "Remove old images" in hint
    assert publisher.seconds_to_fail() < 5


@pytest.mark.parametrize("ahead", [-3000, 3000])
def test_clocks_that_differ_by_most_of_an_hour_do_no_harm(publisher, ahead):
    publisher.lab.cloud.clock_skew = ahead
    ended = publisher.publish()
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert publisher.is_published()


def test_a_storage_that_does_not_believe_our_clock_is_told_at_once(publisher):
    publisher.lab.cloud.default_store, publisher.lab.cloud.clock_skew = "by_key", 3000
    assert publisher.publish().returncode != 0
    step, error, hint = publisher.failure()
    assert step == "register" and "clock" in error + hint
    assert publisher.seconds_to_fail() < 5


GARBAGE = {
    "a page": b"<html>Welcome to Hotel WiFi</html>",
    "a list": b"[]",
    "a word": b'"ok"',
    "another": b'{"value": 7, "properties": []}',
}


@pytest.mark.parametrize("body", list(GARBAGE))
@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("registry", "/oauth2/exchange"),
        ("registry", "/oauth2/token"),
        ("registry", "/manifests/"),
        ("registry", PIECES),
        ("cloud", "/models/"),
        ("cloud", "/datastores/"),
        ("cloud", "Microsoft.Authorization"),
        ("cloud", "/oauth2/v2.0/token"),
        ("blobs", "comp="),
    ],
)
def test_garbage_is_told_as_what_it_is(publisher, host, path, body):
    """With a sentence, not with a trace; and nothing is taken for published that is not."""
    getattr(publisher.lab, host).fault(Fault("", path, 200, {"Content-Type": "application/json"}, GARBAGE[body], times=10_000))
    ended = publisher.publish()
    if ended.returncode == 0:
        assert publisher.is_published()
        return
    step, error, hint = publisher.failure()
    assert ended.returncode != ExitCode.FAILED, (step, error, hint)
    assert hint and "Error" not in error.split(":")[0] and "driver.log" not in hint, (step, error, hint)


def test_a_publishing_that_was_killed_in_mid_layer_goes_on_where_it_was(big):
    big.lab.registry.takes_whole_pieces = True
    paused = big.lab.registry.fault(Fault("PATCH", PIECES, pause_after=MB, skip=1))
    publishing = big.start()
    assert paused.reached.wait(60)
    big.kill()
    paused.go.set()
    code, said = big.ended(publishing)
    assert code != 0, said
    resumed = big.edge("resume", "last")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert big.is_published()
    longest = max(call.body_bytes for call in big.lab.registry.asked("PATCH"))
    small = size(big) - WEIGHTS
    assert big.lab.registry.bytes_in <= size(big) + longest + small + OVERHEAD  # the pieces that were under way


def test_a_publishing_that_was_killed_in_mid_blob_goes_on_where_it_was(big):
    paused = big.lab.blobs.fault(Fault("PUT", BLOCKS, pause_after=0, skip=5))  # four at a time: two are there, one of them the model's
    publishing = big.start()
    assert paused.reached.wait(60)
    big.kill()
    paused.go.set()
    big.ended(publishing)
    big.forget()
    resumed = big.edge("resume", "last")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert big.is_published()
    assert big.lab.registry.asked("PATCH") == []
    assert big.lab.blobs.bytes_in < WEIGHTS


def test_of_two_who_publish_one_version_at_once_the_second_is_refused(publisher, desk, signed_in, tmp_path):
    other_desk = Desk(tmp_path / "other", desk.program)
    other = Publisher(signed_in, other_desk, packaged_home(other_desk.home))
    paused = signed_in.cloud.fault(Fault("PUT", "/models/travel/versions/7", pause_after=0))
    first = publisher.start("--version", "7")
    assert paused.reached.wait(60)
    ended = other.publish("--version", "7")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    paused.go.set()
    code, said = publisher.ended(first)
    assert code == ExitCode.PUBLISH, said
    assert other.is_published("7")


def test_of_two_who_publish_the_next_version_at_once_each_gets_one(publisher, desk, signed_in, tmp_path):
    other_desk = Desk(tmp_path / "other", desk.program)
    other = Publisher(signed_in, other_desk, packaged_home(other_desk.home))
    paused = signed_in.cloud.fault(Fault("PUT", "/models/travel/versions/1", pause_after=0))
    first = publisher.start("--no-push", where=other_where())
    assert paused.reached.wait(60)
    assert other.publish("--no-push", where=other_where()).returncode == 0
    paused.go.set()
    code, said = publisher.ended(first)
    assert code == 0, said
    assert sorted(signed_in.cloud.models.names["travel"]) == ["1", "2"]


def test_the_same_content_again_moves_next_to_nothing(publisher):
    assert publisher.publish().returncode == 0
    publisher.forget()
    assert publisher.publish().returncode == 0
    lab = publisher.lab
    bodies = sum(front.bytes_in + front.bytes_out for front in (lab.cloud, lab.registry, lab.blobs))
    assert bodies <= 20_000, (bodies, lab.proxy.up, lab.proxy.down)
    assert list(lab.cloud.models.names["travel"]) == ["1"]


def test_a_network_that_is_gone_ends_in_a_sentence(publisher, monkeypatch):
    monkeypatch.setitem(os.environ, "HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setitem(os.environ, "https_proxy", "http://127.0.0.1:9")
    ended = publisher.publish()
    assert ended.returncode == ExitCode.CLOUD
    assert publisher.failure()[2]
