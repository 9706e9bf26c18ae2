"""What can go wrong while a model's files are on their way, and what is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

from deploy.blob_store import Access, BlobStore, Patience
from deploy.model_upload import BLOCK, Upload
from tests.azure.entra import ENTRA, TENANT
from tests.azure.faults import Fault
from tests.azure.lab import CONTAINER, STORAGE
from tests.azure.registering import (
    BLOCKS,
    CARD,
    COMMIT,
    EMPTY_LIST,
    PLACE,
    PROGRAM,
    contents,
    open_store,
    register,
    small_content,
    stored,
    written,
)
from tests.cli.desk import until
from toolkit.core.content import folder_digest
from toolkit.core.model_registry import ModelRegistry, Moved
from toolkit.errors import CloudError, PublishError, VersionTaken


@pytest.fixture
def store(signed_in) -> ModelRegistry:
    return open_store(PLACE)


@pytest.fixture
def folder(tmp_path) -> Path:
    return small_content(tmp_path / "content")


def test_a_cut_in_the_middle_of_a_file_costs_its_block_only(signed_in, store, tmp_path):
    folder = written(tmp_path / "content", {"big": os.urandom(5 * BLOCK + 5), "small": b"1"})
    signed_in.blobs.fault(Fault("PUT", BLOCKS, cut_after=BLOCK // 2, skip=2))
    signed_in.blobs.fault(Fault("PUT", COMMIT, cut_after=0, skip=1))  # committed, and its answer lost
    register(store, folder)
    assert stored(signed_in, folder) == contents(folder)
    assert 5.4 * BLOCK < signed_in.blobs.bytes_in < 6.1 * BLOCK


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_storage_that_is_busy_is_tried_again_when_it_says(signed_in, store, tmp_path, status):
    folder = written(tmp_path / "content", {"big": os.urandom(BLOCK)})
    busy = signed_in.blobs.fault(Fault("PUT", BLOCKS, status, {"Retry-After": "1"}, times=2))
    register(store, folder)
    assert stored(signed_in, folder) == contents(folder) and busy.times == 0
    first, second, third = [call.at for call in signed_in.blobs.asked("PUT") if call.query.get("comp") == "block"]
    assert second - first >= 1 and third - second >= 1 and third - first < 10


def test_a_storage_that_asks_for_an_hour_is_told_at_once(signed_in, store, folder):
    signed_in.blobs.fault(Fault("PUT", "", 503, {"Retry-After": "3600"}, times=99))
    with pytest.raises(CloudError) as refused:
        register(store, folder)
    assert refused.value.message == "The storage labstore.blob.core.windows.net is busy: it answered 503."


def test_a_sas_that_expires_in_mid_upload_is_fetched_anew(signed_in, store, tmp_path):
    folder = written(tmp_path / "content", {"big": os.urandom(3 * BLOCK)})
    expired = {"x-ms-error-code": "AuthenticationFailed", "Content-Type": "application/xml"}
    body = b"<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code><Message>Signed expiry time is over.</Message></Error>"
    signed_in.blobs.fault(Fault("PUT", BLOCKS, 403, expired, body, skip=1))
    register(store, folder)
    assert stored(signed_in, folder) == contents(folder)
    assert len(signed_in.cloud.asked("POST", "listSecrets")) == 2


def test_a_sas_is_replaced_before_it_ends_unless_this_clock_is_off():
    ends = "2026-11-23T10:00:00Z"
    now = datetime.fromisoformat(ends).timestamp() - 3600
    sas = Access("https://x", "c", f"sv=1&se={ends}&sig=2", "sas")
    assert sas.renew_at(now) == now + 3300 and sas.renew_at(now + 3601) == float("inf")
    assert Access("https://x", "c", "sig=2", "sas").renew_at(now) == Access("https://x", "c", None).renew_at(now) == float("inf")


def test_a_token_that_expires_in_mid_upload_is_renewed(signed_in, store, tmp_path):
    folder = written(tmp_path / "content", {"big": os.urandom(3 * BLOCK)})
    signed_in.cloud.default_store = "by_identity"
    over = {
        "x-ms-error-code": "InvalidAuthenticationInfo",
        "WWW-Authenticate": f"Bearer authorization_uri=https://{ENTRA}/{TENANT}/oauth2/authorize resource_id=https://storage.azure.com",
    }
    signed_in.blobs.fault(Fault("PUT", BLOCKS, 401, over, skip=1))
    register(store, folder)
    assert stored(signed_in, folder) == contents(folder)


def test_a_killed_upload_goes_on_at_the_block(signed_in, store, tmp_path):
    folder = written(tmp_path / "content", {"big": os.urandom(6 * BLOCK), "small": b"1"})
    argv = [sys.executable, "-c", PROGRAM, PLACE, str(folder), CARD.name, ""]
    paused = signed_in.blobs.fault(Fault("PUT", BLOCKS, pause_after=BLOCK // 2, skip=1))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as killed:
        assert paused.reached.wait(60)
        until(lambda: sum(call.status == 201 for call in signed_in.blobs.asked("PUT") if call.query.get("comp") == "block") == 5)
        killed.send_signal(signal.SIGKILL)
    signed_in.blobs.reset()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    *told, made = done.stdout.splitlines()
    assert (done.returncode, made) == (0, "azureml:ft-for-travel:1"), done.stderr
    assert int(told[-1].split()[1]) >= 5 * BLOCK
    assert stored(signed_in, folder) == contents(folder)
    assert signed_in.blobs.bytes_in < 1.1 * BLOCK


def test_a_file_that_changes_on_its_way_is_not_registered(signed_in, store, tmp_path):
    folder = written(tmp_path / "content", {"big": os.urandom(BLOCK)})
    paused = signed_in.blobs.fault(Fault("PUT", BLOCKS, pause_after=0))
    with ThreadPoolExecutor(1) as elsewhere:
        going = elsewhere.submit(register, store, folder)
        assert paused.reached.wait(60)
        (folder / "big").write_bytes(os.urandom(BLOCK))
        paused.go.set()
        with pytest.raises(PublishError, match="big changed while it was sent."):
            going.result(60)
    assert list(signed_in.container.list_blob_names()) == [] and signed_in.cloud.model(CARD.name, "1") is None


def test_no_word_about_a_broken_connection_holds_the_sas(signed_in, folder):
    secret = signed_in.cloud.resources.secrets("by_sas")["sasToken"]
    access = Access(f"https://{STORAGE}", CONTAINER, secret, "sas")
    signed_in.blobs.fault(Fault("GET", "", cut_after=0, times=99))
    with closing(BlobStore(lambda: access, None, Patience(tries=2))) as container, pytest.raises(CloudError) as refused:
        Upload(container, folder, "models/x/y", "y", lambda _: None).send()
    said = f"{refused.value!r} {refused.value} {refused.value.__cause__} {access}"
    assert refused.value.message.startswith("The storage labstore.blob.core.windows.net cannot be reached: ")
    assert "sig=" not in said and secret not in said


@pytest.mark.parametrize("body", [b"<html>sign in to the hotel's network</html>", b"[]", b'{"properties": 1}', b"\x00\xff"])
def test_an_answer_that_is_not_azures_is_told_as_such(signed_in, store, folder, body):
    signed_in.cloud.fault(Fault("GET", "/models/", 200, {"Content-Type": "application/json"}, body))
    with pytest.raises(CloudError) as refused:
        register(store, folder)
    assert refused.value.message.startswith("What answers for workspace lab is not Azure") and refused.value.hint


def test_of_two_that_register_one_version_at_once_with_other_bytes_one_is_told(signed_in, store, tmp_path):
    folders = [written(tmp_path / name, {"big": os.urandom(BLOCK)}) for name in "ab"]
    held = [signed_in.cloud.fault(Fault("PUT", "/versions/1", pause_after=0)) for _ in folders]
    with ThreadPoolExecutor(2) as people:
        going = [people.submit(register, store, folder) for folder in folders]
        for fault in held:
            assert fault.reached.wait(60)  # both saw the version free, and sent their bytes
        for fault in held:
            fault.go.set()
        ended = [one.exception(60) or one.result() for one in going]
    taken = [one for one in ended if isinstance(one, VersionTaken)]
    assert [one.message for one in taken] == ["ft-for-travel:1 is there with other content."]
    assert signed_in.cloud.model(CARD.name, "1")["modelUri"] == next(one for one in ended if one not in taken).path


def test_two_that_register_the_same_bytes_at_once_both_have_it(signed_in, store, tmp_path):
    folder = written(tmp_path / "content", {"big": os.urandom(3 * BLOCK), "small": b"1"})
    with ThreadPoolExecutor(2) as people:
        made = [one.result(120) for one in [people.submit(register, store, folder) for _ in range(2)]]
    assert [one.id for one in made] == ["azureml:ft-for-travel:1"] * 2
    assert stored(signed_in, folder) == contents(folder)


def test_progress_is_told_every_second_while_a_storage_is_slow(signed_in, store, tmp_path):
    folder = written(tmp_path / "content", {"big": os.urandom(BLOCK)})
    slow = signed_in.blobs.fault(Fault("PUT", BLOCKS, pause_after=BLOCK // 2))
    told: list[tuple[float, int]] = []

    def tell(moved: Moved) -> None:
        told.append((time.monotonic(), moved.done))
        if slow.reached.is_set() and len(told) > 4 and told[-5][1] == moved.done:
            slow.go.set()  # it stood still, and was told all the same

    store.register(folder, folder_digest(folder), CARD, tell)
    assert told[-1][1] == BLOCK
    assert max(after - before for (before, _), (after, _) in pairwise(told)) < 1


def test_progress_moves_within_a_block(tmp_path):
    folder, told = written(tmp_path / "content", {"big": os.urandom(3 * BLOCK)}), threading.Event()
    parts: list[int] = []

    def tell(moved: Moved) -> None:
        parts.append(moved.done)
        if moved.done % BLOCK:
            told.set()

    with slow_storage(told) as address, closing(BlobStore(lambda: Access(address, "models", "se=x", "sas"), None)) as container:
        Upload(container, folder, "models/x/y", "y", tell).send()
    assert told.is_set() and parts[-1] == 3 * BLOCK


@contextmanager
def slow_storage(told: threading.Event) -> Iterator[str]:
    """It takes nothing of a block until somebody was told of a part of one."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply(200, b"<EnumerationResults><Blobs/></EnumerationResults>" if "comp=list" in self.path else EMPTY_LIST)

        def do_PUT(self) -> None:
            is_block = "comp=block&" in self.path
            if is_block and not told.wait(60):
                return
            left = int(self.headers["Content-Length"])
            while left:
                left -= len(self.rfile.read(min(left, 1 << 20)))
            self.reply(201, b"")

        def reply(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
