"""Pushing to a registry of Azure's: by our sign-in at Entra, which ends now and then, over lines that are cut."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.acr import registry_sign_in
from deploy.cloud import Azure
from tests.azure.arm import REGISTRY_HOST
from tests.azure.faults import Fault
from tests.packaged_home import Packaged, packaged_home
from toolkit.core import reference
from toolkit.core.blob_upload import BlobUpload, PieceSize
from toolkit.core.hoststeps import HostSteps
from toolkit.core.publish_start import PublishWish, make_request
from toolkit.core.registry_session import Session
from toolkit.core.run import Run, new_run
from toolkit.core.second_request import SecondRequests
from toolkit.core.uploads import Uploads
from toolkit.errors import CloudError, RegistryDenied, SignInError

MB = 1 << 20
WEIGHTS = 3 * MB
WITHOUT_RIGHTS = ("push", "verify")


@pytest.fixture
def packaged(signed_in, tmp_path: Path) -> Packaged:
    made = packaged_home(tmp_path / "home", WEIGHTS)
    cloud = Azure(made.bench.settings)
    return replace(made, bench=replace(made.bench, cloud=lambda: cloud))


def pushed(packaged: Packaged, tag: str = "1") -> Run:
    request = make_request(packaged.bench, PublishWish(packaged.name, f"{REGISTRY_HOST}/travel:{tag}"))
    request["steps"] = [step for step in request["steps"] if step["kind"] in WITHOUT_RIGHTS]
    run = new_run(packaged.bench.settings.runs, "publish", "travel", lambda _: request)
    HostSteps(packaged.bench, run, {}).all_done()
    return run


def is_there(lab, packaged: Packaged, tag: str = "1") -> bool:
    stored, layout = lab.registry.stored("travel", tag), packaged.layout
    return bool(stored) and (stored.digest, stored.manifest["config"]["digest"]) == (layout.manifest, layout.config)


def sign_in():
    from azure.identity import EnvironmentCredential

    return registry_sign_in(EnvironmentCredential(), REGISTRY_HOST)


def test_the_image_is_pushed_with_nothing_but_our_sign_in(signed_in, packaged):
    run = pushed(packaged)
    assert is_there(signed_in, packaged), run.state().problem
    assert len(signed_in.registry.asked("POST", "/oauth2/exchange")) == 1, "for all steps"
    assert signed_in.registry.bytes_in < packaged.layout.bytes + 30_000


def test_unchanged_content_published_again_sends_less_than_twenty_kilobytes(signed_in, packaged):
    pushed(packaged)
    before, began = signed_in.proxy.up[REGISTRY_HOST], time.monotonic()
    pushed(packaged)
    assert signed_in.proxy.up[REGISTRY_HOST] - before < 20_000
    assert time.monotonic() - began < 3


def test_a_token_that_is_over_in_the_middle_of_a_push_is_renewed(signed_in, packaged):
    paused = signed_in.registry.fault(Fault("PATCH", pause_after=MB))
    over = threading.Thread(target=lambda: (paused.reached.wait(30), signed_in.registry.forget_tokens(), paused.go.set()))
    over.start()
    run = pushed(packaged)
    over.join()
    assert is_there(signed_in, packaged), run.state().problem
    assert [call.status for call in signed_in.registry.asked("PUT", "/v2/travel/blobs/uploads/")].count(401) >= 1, "it was over"


def test_a_sign_in_that_is_over_in_the_middle_of_a_push_is_made_anew(signed_in, packaged):
    paused = signed_in.registry.fault(Fault("PATCH", pause_after=MB))
    over = threading.Thread(target=lambda: (paused.reached.wait(30), signed_in.registry.forget_sign_ins(), paused.go.set()))
    over.start()
    run = pushed(packaged)
    over.join()
    assert is_there(signed_in, packaged), run.state().problem
    assert len(signed_in.registry.asked("POST", "/oauth2/exchange")) == 2


def test_a_connection_cut_inside_a_layer_does_not_end_the_push(signed_in, packaged):
    signed_in.registry.fault(Fault("PATCH", cut_after=MB))
    run = pushed(packaged)
    assert is_there(signed_in, packaged), run.state().problem


@pytest.mark.parametrize("status", [429, 503])
def test_a_registry_that_asks_us_to_wait_is_waited_for(signed_in, packaged, status):
    signed_in.registry.fault(Fault("POST", "/blobs/uploads/", status, {"Retry-After": "1"}))
    signed_in.registry.fault(Fault("POST", "/oauth2/exchange", status))
    run = pushed(packaged)
    assert is_there(signed_in, packaged), run.state().problem


def test_a_registry_that_takes_no_tokens_for_the_resource_manager_gets_its_own(signed_in):
    signed_in.registry.fault(Fault("POST", "/oauth2/exchange", 401))
    access = sign_in()
    assert access().username == "00000000-0000-0000-0000-000000000000"
    scopes = [call.sent["scope"].split()[0] for call in signed_in.cloud.asked("POST", "/oauth2/v2.0/token")]
    assert scopes == ["https://management.azure.com/.default", "https://containerregistry.azure.net/.default"]
    access(is_refused=True)
    assert len(signed_in.registry.asked("POST", "/oauth2/exchange")) == 3, "what worked is asked first"


def test_a_sign_in_is_kept_as_long_as_it_is_good(signed_in):
    access = sign_in()
    first = access()
    assert access() is first
    assert access(is_refused=True) != first
    assert len(signed_in.registry.asked("POST", "/oauth2/exchange")) == 2


def test_a_registry_that_refuses_us_is_told_with_the_role_that_is_missing(signed_in):
    signed_in.registry.fault(Fault("POST", "/oauth2/exchange", 403, body=b'{"errors":[{"code":"DENIED","message":"no access"}]}', times=2))
    with pytest.raises(RegistryDenied, match="403 DENIED no access") as told:
        sign_in()()
    assert "AcrPush" in told.value.hint


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"refresh_token": ""}', b'{"other": 1}'])
def test_what_is_no_registry_of_azures_is_told(signed_in, body):
    signed_in.registry.fault(Fault("POST", "/oauth2/exchange", 200, body=body))
    with pytest.raises(CloudError, match="no registry of Azure's"):
        sign_in()()


def test_without_the_right_to_push_it_is_told_at_once(signed_in, packaged):
    signed_in.cloud.deny_actions("labacr", "*/push/write")
    began = time.monotonic()
    run = pushed(packaged)
    assert time.monotonic() - began < 5 and not is_there(signed_in, packaged)
    assert "AcrPush" in run.state().hint


def test_nobody_signed_in_is_told_with_the_way_out(lab):
    with pytest.raises(SignInError) as told:
        sign_in()()
    assert "edge login" in told.value.hint


def test_no_token_is_in_the_runs_folder_or_in_what_is_said(signed_in, packaged, capfd):
    signed_in.registry.fault(Fault("PATCH", status=503, times=1, headers={"Retry-After": "0"}))
    run = pushed(packaged)
    said = capfd.readouterr()
    tokens = {call.sent["access_token"] for call in signed_in.registry.asked("POST", "/oauth2/exchange")}
    tokens |= {call.bearer for call in signed_in.registry.calls if call.bearer}
    assert len(tokens) >= 2
    written = b"".join(path.read_bytes() for path in run.folder.rglob("*") if path.is_file()) + said.out.encode() + said.err.encode()
    assert [token for token in tokens if token.encode() in written] == []
    assert b"_state=" not in written


def test_a_cut_inside_a_piece_costs_that_piece_only(signed_in, packaged, tmp_path):
    """The process that holds the second request back comes through proxy and TLS with our way in, and asks for none of its own."""
    session = Session(reference.parse(f"{REGISTRY_HOST}/travel:1"), sign_in())
    [model] = [layer for layer in packaged.layout.layers if layer.name == "model"]
    second, blob = SecondRequests(session, tmp_path, least=0), packaged.layout.blob(model.digest)
    fault = Fault("PATCH", r"/v2/travel/blobs/uploads/", cut_after=MB // 2, skip=8)
    signed_in.registry.fault(fault)
    upload = BlobUpload(session, Uploads(tmp_path / "u"), model.digest, blob, model.size, PieceSize(MB, MB, MB), second)
    upload.send(lambda done: None)
    second.close()
    assert fault.reached.is_set() and upload.is_there()
    assert signed_in.registry.bytes_in < model.size + 2 * MB
    assert len(signed_in.registry.asked("POST", "/oauth2/exchange")) == 1
    session.close()
