"""Where the base model comes from: the real Hugging Face client against a small hub on loopback, and Azure ML by a stand-in."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from toolkit import settings as settings_module
from toolkit.core.basemodel import model_folder
from toolkit.core.recipe import BaseModelChoice
from toolkit.core.workbench import Workbench
from toolkit.errors import ModelError
from toolkit.wiring import make_workbench

COMMIT = "1234567890abcdef1234567890abcdef12345678"
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    "model.safetensors": bytes(4096),
    "pytorch_model.bin": b"never fetched",
    "modeling.py": b"print('never fetched unless trusted')",
}


class Hub(BaseHTTPRequestHandler):
    """The few answers of a hub that `snapshot_download` needs: one repository, one gated one, and nothing else."""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_: object) -> None: ...

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append((path, self.headers.get("authorization", "")))
        if "/models/someone/gated" in path or path.startswith("/someone/gated"):
            return self._send(403, b"{}", with_body, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Accept the licence"})
        if path in ("/api/models/someone/small/revision/main", "/api/models/someone/small"):
            names = [{"rfilename": name} for name in FILES]
            return self._send(200, json.dumps({"id": "someone/small", "sha": COMMIT, "siblings": names}).encode(), with_body)
        if path.startswith("/api/models/someone/small/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in FILES.items()
            ]
            return self._send(200, json.dumps(tree).encode(), with_body)
        if path.startswith("/api/models/someone/small/revision/"):
            return self._send(404, b"{}", with_body, {"X-Error-Code": "RevisionNotFound"})
        name = path.rpartition("/")[2]
        if path.startswith(f"/someone/small/resolve/{COMMIT}/") and name in FILES:
            content = FILES[name]
            return self._send(200, content, with_body, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": COMMIT})
        return self._send(404, b"{}", with_body, {"X-Error-Code": "RepoNotFound"})

    def _send(self, status: int, body: bytes, with_body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


FETCH = """
import sys
from dataclasses import replace
from pathlib import Path
from toolkit import settings
from toolkit.core.basemodel import model_folder
from toolkit.core.recipe import BaseModelChoice
from toolkit.errors import ModelError
from toolkit.wiring import make_workbench
bench = make_workbench(replace(settings.load({}), home=Path(sys.argv[1])))
choice = BaseModelChoice(source=sys.argv[2], revision=sys.argv[3], trust_remote_code=sys.argv[4] == "trusted")
try:
    print(model_folder(bench, choice, lambda said: print(said, file=sys.stderr)))
except ModelError as exc:
    print(exc.message, exc.hint, sep="|")
"""


def fetched(home: Path, address: str, source: str, revision: str = "", trust: str = "", **environ: str) -> str:
    """What fetching ends with, in a process of its own: the client reads its environment when it is imported."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    ours = {"HF_ENDPOINT": address, "HF_HOME": str(home / "hf"), "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1"}
    argv = [sys.executable, "-c", FETCH, str(home), source, revision, trust]
    done = subprocess.run(argv, capture_output=True, text=True, env={**kept, **ours, **environ}, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def address(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_a_hub_model_is_fetched_into_models_and_holds_only_what_is_needed(hub, tmp_path):
    folder = Path(fetched(tmp_path, address(hub), "someone/small"))
    assert folder == tmp_path / "models" / "someone--small@main"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        name: FILES[name] for name in ("config.json", "tokenizer.json", "model.safetensors")
    }


def test_code_is_fetched_only_where_it_is_trusted(hub, tmp_path):
    folder = Path(fetched(tmp_path, address(hub), "someone/small", trust="trusted"))
    assert (folder / "modeling.py").exists()


def test_the_token_of_the_environment_is_sent(hub, tmp_path):
    fetched(tmp_path, address(hub), "someone/small", HF_TOKEN="hf_abc")
    assert {said for _, said in hub.asked} == {"Bearer hf_abc"}


@pytest.mark.parametrize(
    ("source", "revision", "said"),
    [
        (
            "someone/nothing",
            "",
            "There is no model someone/nothing, or it is private.|Correct [model] source; set HF_TOKEN for a private one.",
        ),
        ("someone/small", "v9", "someone/small has no revision 'v9'.|Correct [model] revision in the recipe."),
        ("someone/gated", "", "someone/gated is gated.|Accept its licence on its page, then set HF_TOKEN."),
    ],
)
def test_what_the_hub_does_not_give_is_told_with_the_way_out(hub, tmp_path, source, revision, said):
    assert fetched(tmp_path, address(hub), source, revision) == said


def test_a_network_that_is_down_is_told_and_what_was_fetched_before_is_used(hub, tmp_path):
    nowhere = "http://127.0.0.1:9"  # discard: nobody listens
    refused = fetched(tmp_path, nowhere, "someone/small")
    assert refused.startswith("someone/small could not be fetched: ") and refused.endswith(
        "|Check the network, or give a folder as [model] source."
    )
    folder = fetched(tmp_path, address(hub), "someone/small")
    assert fetched(tmp_path, nowhere, "someone/small") == folder


def test_a_killed_fetch_is_taken_up_again(hub, tmp_path):
    folder = tmp_path / "models" / "someone--small@main"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"half")
    assert fetched(tmp_path, address(hub), "someone/small") == str(folder)
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]


ASSET = "azureml://registries/azureml/models/phi/versions/3"


def bench_with(tmp_path: Path, fetch) -> Workbench:
    return replace(make_workbench(replace(settings_module.load({}), home=tmp_path)), fetch_asset=fetch)


def test_an_azure_asset_is_fetched_once_and_its_model_found_wherever_it_lies(tmp_path):
    fetches = []

    def fetch(uri: str, folder: str, say: object) -> None:
        fetches.append(uri)
        inner = Path(folder) / "phi" / "mlflow" / "model"
        inner.mkdir(parents=True)
        (inner / "config.json").write_text("{}")

    bench = bench_with(tmp_path, fetch)
    folders = {model_folder(bench, BaseModelChoice(source=ASSET), print) for _ in range(2)}
    assert folders == {tmp_path / "models" / "registries--azureml--models--phi--versions--3" / "phi" / "mlflow" / "model"}
    assert fetches == [ASSET]


def test_an_azure_fetch_that_fails_halfway_leaves_nothing_that_looks_whole(tmp_path):
    def fetch(uri: str, folder: str, say: object) -> None:
        Path(folder).mkdir(exist_ok=True)
        raise ModelError("Azure ML did not give it.", "Sign in.")

    for _ in range(2):
        with pytest.raises(ModelError, match="did not give it"):
            model_folder(bench_with(tmp_path, fetch), BaseModelChoice(source=ASSET), print)


def test_an_azure_asset_without_a_model_is_told(tmp_path):
    bench = bench_with(tmp_path, lambda uri, folder, say: Path(folder).mkdir(exist_ok=True))
    with pytest.raises(ModelError, match="holds no Hugging Face model .no config.json."):
        model_folder(bench, BaseModelChoice(source=ASSET), print)
