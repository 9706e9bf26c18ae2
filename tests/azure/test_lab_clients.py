"""The lab is as the clients of others expect it: those of Azure's and Docker's own, unpatched. What they find wrong there is wrong."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import docker
import pytest

from tests.azure.arm import SUBSCRIPTION
from tests.azure.assets import REGISTRY
from tests.azure.entra import ADA
from tests.azure.lab import REGISTRY_HOST, Lab
from tests.azure.test_lab import access, refresh_token
from tests.cli.desk import until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:azure")
MANAGEMENT_SCOPE = "https://management.azure.com/.default"


def client(**place: str):
    from azure.ai.ml import MLClient
    from azure.identity import EnvironmentCredential

    return MLClient(EnvironmentCredential(), enable_telemetry=False, **place)


def workspace():
    return client(subscription_id=SUBSCRIPTION, resource_group_name="team", workspace_name="lab")


def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    (made / "adapters").mkdir(parents=True)
    (made / "model.onnx").write_bytes(os.urandom(200_000))
    (made / "adapters" / "a.bin").write_bytes(b"a")
    return made


@pytest.mark.parametrize("store", ["by_sas", "by_key", "by_identity"])
def test_azure_ml_registers_and_downloads_a_model(signed_in, tmp_path, store):
    from azure.ai.ml.entities import Model

    signed_in.cloud.default_store = store
    made = workspace().models.create_or_update(Model(name="travel", path=str(folder(tmp_path)), tags={"of": "Ada"}))
    assert (made.version, made.tags, signed_in.cloud.model("travel", "1")["tags"]) == ("1", {"of": "Ada"}, {"of": "Ada"})
    assert workspace().models.get("travel", label="latest").version == "1"
    workspace().models.download("travel", "1", download_path=str(tmp_path / "got"))
    assert (tmp_path / "got" / "travel" / "model" / "model.onnx").read_bytes() == (tmp_path / "model" / "model.onnx").read_bytes()
    assert [model.name for model in workspace().models.list()] == ["travel"]


def test_azure_ml_is_refused_other_bytes_under_a_version_that_is_there(signed_in, tmp_path):
    from azure.ai.ml.entities import Model
    from azure.core.exceptions import HttpResponseError

    source = folder(tmp_path)
    workspace().models.create_or_update(Model(name="travel", version="1", path=str(source)))
    (source / "model.onnx").write_bytes(b"other")
    with pytest.raises(HttpResponseError, match="Asset paths cannot be updated"):
        workspace().models.create_or_update(Model(name="travel", version="1", path=str(source)))


def test_azure_ml_registers_and_downloads_out_of_its_registry(signed_in, tmp_path):
    from azure.ai.ml.entities import Model

    made = client(registry_name=REGISTRY).models.create_or_update(Model(name="travel", version="3", path=str(folder(tmp_path))))
    assert (made.version, list(signed_in.cloud.assets.models.names)) == ("3", ["travel"])
    client(registry_name=REGISTRY).models.download("travel", "3", download_path=str(tmp_path / "got"))
    assert [path.read_bytes() for path in (tmp_path / "got").rglob("a.bin")] == [b"a"]


def test_azure_ml_lists_workspaces_computes_and_datastores(signed_in):
    from azure.ai.ml.constants import Scope

    found = {(one.resource_group, one.name) for one in client(subscription_id=SUBSCRIPTION).workspaces.list(scope=Scope.SUBSCRIPTION)}
    assert found == {("team", "lab"), ("team", "lab-dev"), ("other-team", "lab-eu")}
    assert workspace().workspaces.get("lab").container_registry.endswith("/labacr")
    box = workspace().compute.get("gpu-box")
    assert (box.type, box.idle_time_before_shutdown) == ("computeinstance", "PT30M")
    assert workspace().datastores.get_default().account_name == "labstore"


def test_a_person_signs_in_by_device_code_and_stays_for_other_audiences(lab):
    from azure.identity import DeviceCodeCredential

    shown: list[str] = []
    credential = DeviceCodeCredential(prompt_callback=lambda url, code, until: shown.append(code))
    got: list[str] = []
    asking = threading.Thread(target=lambda: got.append(credential.get_token(MANAGEMENT_SCOPE).token))
    asking.start()
    until(lambda: shown)
    lab.cloud.approve(shown[0])
    asking.join(30)
    assert lab.cloud.people.check(got[0], "https://management.azure.com")["upn"] == ADA
    storage = credential.get_token("https://storage.azure.com/.default").token
    assert lab.cloud.people.check(storage, "https://storage.azure.com")["upn"] == ADA


def test_a_machine_and_az_give_tokens(lab, tmp_path, monkeypatch):
    from azure.core.exceptions import ClientAuthenticationError
    from azure.identity import AzureCliCredential, ManagedIdentityCredential

    for name, value in lab.msi_environ.items():
        monkeypatch.setenv(name, value)
    token = ManagedIdentityCredential().get_token(MANAGEMENT_SCOPE).token
    assert lab.cloud.people.check(token, "https://management.azure.com")["xms_mirid"]
    lab.machine_identity(400)
    with pytest.raises(ClientAuthenticationError):
        ManagedIdentityCredential().get_token(MANAGEMENT_SCOPE)
    lab.az(tmp_path)
    assert lab.cloud.people.check(AzureCliCredential().get_token(MANAGEMENT_SCOPE).token, "https://management.azure.com")["upn"] == ADA
    lab.az(tmp_path, fails="ERROR: Please run 'az login' to setup account.")
    with pytest.raises(ClientAuthenticationError):
        AzureCliCredential().get_token(MANAGEMENT_SCOPE)


@pytest.mark.engine
def test_an_engine_pushes_through_the_plain_door(lab: Lab, base_image: str) -> None:
    engine = docker.from_env()
    host = lab.plain_registry.address
    reference = f"{host}/travel:1"
    engine.images.get(base_image).tag(reference)
    try:
        sign_in = {"username": "00000000-0000-0000-0000-000000000000", "password": refresh_token(lab)}
        said = list(engine.images.push(reference, auth_config=sign_in, stream=True, decode=True))
        digest = next(line["aux"]["Digest"] for line in said if "aux" in line)
    finally:
        engine.images.remove(reference)
    stored = lab.registry.stored("travel", "1")
    assert stored and stored.digest == digest
    assert access(lab) and REGISTRY_HOST not in host
