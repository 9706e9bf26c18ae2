"""The lab itself: what it lets through, what it refuses, and that its faults do what they say. Trust in it is worth what these tests are."""

from __future__ import annotations

import hashlib
import json
import os
import threading

import httpx
import pytest

from tests.azure.arm import ACR, ML, SUBSCRIPTION, WORKSPACE
from tests.azure.entra import ENTRA, MANAGEMENT, SIGN_IN_PAGE, TENANT
from tests.azure.faults import Fault
from tests.azure.lab import CONTAINER, REGISTRY_HOST, STORAGE, Lab
from tests.cli.desk import until

ARM, V2 = f"https://{MANAGEMENT}", f"https://{REGISTRY_HOST}/v2"
REGION = "eastus.api.azureml.ms"
API = {"api-version": "2024-04-01"}


def arm(lab: Lab, path: str, **query: str) -> httpx.Response:
    way = {"Authorization": f"Bearer {lab.cloud.token('https://management.azure.com/.default')}"}
    return httpx.get(f"{ARM}{path}", params={**API, **query}, headers=way)


def refresh_token(lab: Lab) -> str:
    form = {
        "grant_type": "access_token",
        "service": REGISTRY_HOST,
        "access_token": lab.cloud.token("https://management.azure.com/.default"),
    }
    return httpx.post(f"https://{REGISTRY_HOST}/oauth2/exchange", data=form).json()["refresh_token"]


def access(lab: Lab, scope: str = "repository:travel:pull,push", base: str = f"https://{REGISTRY_HOST}") -> dict[str, str]:
    form = {"grant_type": "refresh_token", "service": REGISTRY_HOST, "refresh_token": refresh_token(lab), "scope": scope}
    return {"Authorization": f"Bearer {httpx.post(f'{base}/oauth2/token', data=form).json()['access_token']}"}


def begin(lab: Lab, way: dict[str, str]) -> str:
    """Where a new upload goes."""
    answer = httpx.post(f"{V2}/travel/blobs/uploads/", headers=way)
    assert answer.status_code == 202, answer.text
    return str(httpx.URL(f"https://{REGISTRY_HOST}").join(answer.headers["location"]))


def upload(lab: Lab, content: bytes, way: dict[str, str]) -> httpx.Response:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return httpx.put(httpx.URL(begin(lab, way)).copy_add_param("digest", digest), content=content, headers=way)


def test_a_blob_goes_through_the_front_and_its_bytes_are_counted(lab):
    content = os.urandom(3 << 20)
    assert upload(lab, content, access(lab)).status_code == 201
    assert lab.registry.bytes_in - lab.registry.stored_bytes() == sum(call.body_bytes for call in lab.registry.asked("POST", "/oauth2/"))
    assert [call.status for call in lab.registry.asked("PUT", "/v2/travel/blobs/uploads/")] == [201]
    assert 3 << 20 < lab.proxy.up[REGISTRY_HOST] < 3.2 * (1 << 20)


def test_a_registry_wants_a_token_of_its_own_for_its_own_repository(lab):
    refused = httpx.get(f"{V2}/travel/tags/list")
    assert refused.status_code == 401
    assert f'realm="https://{REGISTRY_HOST}/oauth2/token",service="{REGISTRY_HOST}"' in refused.headers["www-authenticate"]
    assert httpx.get(f"{V2}/travel/tags/list", headers=access(lab, "repository:other:pull")).status_code == 401
    assert httpx.get(f"{V2}/travel/tags/list", headers={"Authorization": "Bearer garbage"}).status_code == 401


def test_a_cut_leaves_the_service_the_bytes_before_it(lab):
    way, fault = access(lab), lab.registry.fault(Fault("PATCH", cut_after=1 << 20))
    place = begin(lab, way)
    with pytest.raises(httpx.TransportError):
        httpx.patch(place, content=bytes(3 << 20), headers=way)
    assert fault.reached.is_set() and lab.registry.asked("PATCH")[0].status == 0
    until(lambda: lab.registry.pending_bytes() == 1 << 20)
    assert httpx.patch(place, content=b"more", headers=way).status_code == 404  # this registry keeps no half piece


def test_a_cut_at_the_end_of_a_body_loses_only_the_answer(lab):
    way, content = access(lab), os.urandom(1 << 20)
    lab.registry.fault(Fault("PUT", "/blobs/uploads/", cut_after=2 << 20))
    with pytest.raises(httpx.TransportError):
        upload(lab, content, way)
    assert httpx.head(f"{V2}/travel/blobs/sha256:{hashlib.sha256(content).hexdigest()}", headers=way).status_code == 200


def test_a_gateway_that_takes_whole_pieces_passes_no_half_one_on(lab):
    way, lab.registry.takes_whole_pieces = access(lab), True
    place = begin(lab, way)
    first = httpx.patch(place, content=bytes(1 << 20), headers=way)
    place = str(httpx.URL(place).join(first.headers["location"]))
    lab.registry.fault(Fault("PATCH", cut_after=1 << 20))
    with pytest.raises(httpx.TransportError):
        httpx.patch(place, content=bytes(3 << 20), headers=way)
    asked = httpx.get(place, headers=way)
    assert (asked.status_code, asked.headers["range"]) == (204, f"0-{(1 << 20) - 1}")


def test_an_answer_is_cut_after_the_bytes_asked_for(lab):
    lab.container.upload_blob("big", bytes(1 << 20))
    lab.blobs.fault(Fault("GET", cut_after=1000))
    url = f"https://{STORAGE}/{CONTAINER}/big?{lab.cloud.resources.secrets('by_sas')['sasToken']}"
    got = 0
    with pytest.raises(httpx.TransportError), httpx.stream("GET", url) as answer:
        for piece in answer.iter_bytes():
            got += len(piece)
    assert got == 1000
    assert len(httpx.get(url).content) == 1 << 20


def test_a_fault_answers_for_so_many_requests_and_no_more(lab):
    lab.cloud.fault(Fault("GET", "/subscriptions", 429, {"Retry-After": "7"}, b"\x00garbage", times=2, skip=1))
    answers = [arm(lab, "/subscriptions") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 429, 429, 200]
    assert (answers[1].headers["retry-after"], answers[1].content) == ("7", b"\x00garbage")


def test_a_pause_holds_one_request_until_it_may_go(lab):
    fault = lab.cloud.fault(Fault("GET", "/tenants", pause_after=0))
    got: list[int] = []
    asking = threading.Thread(target=lambda: got.append(arm(lab, "/tenants").status_code))
    asking.start()
    assert fault.reached.wait(30) and got == []
    assert arm(lab, "/tenants").status_code == 200
    fault.go.set()
    asking.join(30)
    assert got == [200]


def test_what_nobody_knows_is_recorded(lab):
    assert arm(lab, "/subscriptions/x/unheard/of").status_code == 404
    assert lab.cloud.unknown == []
    for url in (
        f"{ARM}{WORKSPACE}/jobs?api-version=1",
        f"{ARM}/subscriptions",
        f"https://{REGISTRY_HOST}/acr/v1/x",
        f"https://{ENTRA}/{TENANT}/x",
    ):
        way = {"Authorization": f"Bearer {lab.cloud.token('https://management.azure.com/.default')}"}
        assert httpx.get(url, headers=way).status_code == 501
    assert len(lab.cloud.unknown) == 4
    lab.cloud.unknown.clear()
    with pytest.raises(httpx.ProxyError):
        httpx.get("https://pypi.example/")
    assert lab.proxy.refused == ["CONNECT pypi.example:443"]
    lab.proxy.refused.clear()


@pytest.mark.parametrize("scope", ["https://storage.azure.com/.default", "https://management.azure.com.evil/.default"])
def test_a_token_for_another_audience_is_refused(lab, scope):
    way = {"Authorization": f"Bearer {lab.cloud.token(scope)}"}
    assert httpx.get(f"{ARM}/subscriptions", params=API, headers=way).status_code == 401
    form = {"grant_type": "access_token", "service": REGISTRY_HOST, "access_token": way["Authorization"][7:]}
    assert httpx.post(f"https://{REGISTRY_HOST}/oauth2/exchange", data=form).status_code == 401


def test_a_token_is_over_by_the_clocks_of_the_lab(lab):
    way = {"Authorization": f"Bearer {lab.cloud.token('https://management.azure.com')}"}
    assert httpx.get(f"{ARM}/subscriptions", params=API, headers=way).status_code == 200
    lab.cloud.clock_skew = 4000
    assert httpx.get(f"{ARM}/subscriptions", params=API, headers=way).status_code == 401
    lab.cloud.clock_skew = 0
    mine = access(lab)
    assert httpx.get(f"{V2}/", headers=mine).status_code == 200
    lab.registry.forget_tokens()
    refused = httpx.post(f"{V2}/travel/blobs/uploads/", headers=mine)
    assert refused.status_code == 401 and 'scope="repository:travel:pull,push",error="invalid_token"' in refused.headers["www-authenticate"]
    assert httpx.post(f"{V2}/travel/blobs/uploads/", headers=access(lab)).status_code == 202
    lab.registry.token_seconds = -1
    assert httpx.get(f"{V2}/", headers=access(lab)).status_code == 401


def test_a_right_that_is_taken_away_is_missing_everywhere(lab):
    scope = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/team/providers/{ACR}/labacr"
    lab.cloud.deny_actions("labacr", f"{ACR}/push/*")
    roles = arm(lab, f"{scope}/providers/Microsoft.Authorization/permissions").json()["value"]
    assert f"{ACR}/push/*" in roles[0]["notActions"]
    assert arm(lab, f"{WORKSPACE}/providers/Microsoft.Authorization/permissions").json()["value"][0]["notActions"] == []
    assert httpx.post(f"{V2}/travel/blobs/uploads/", headers=access(lab)).status_code == 401
    assert httpx.get(f"{V2}/travel/tags/list", headers=access(lab)).status_code == 404  # it may still look


def test_the_plain_door_has_tokens_of_its_own(lab):
    base = f"http://{lab.plain_registry.address}"
    refused = httpx.get(f"{base}/v2/")
    assert f'realm="{base}/oauth2/token"' in refused.headers["www-authenticate"]
    assert httpx.get(f"{base}/v2/", headers=access(lab, base=base)).status_code == 200


def test_lists_come_in_pages_and_workspaces_of_all_groups_at_once(lab):
    lab.cloud.resources.page = 2
    first = arm(lab, f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.MachineLearningServices/workspaces").json()
    way = {"Authorization": f"Bearer {lab.cloud.token('https://management.azure.com')}"}
    second = httpx.get(first["nextLink"], headers=way).json()
    assert [one["name"] for one in first["value"] + second["value"]] == ["lab", "lab-dev", "lab-eu"]
    assert "nextLink" not in second


def test_a_registry_of_models_is_found_by_its_name_and_takes_bytes_for_a_version(lab):
    way = {"Authorization": f"Bearer {lab.cloud.token('https://management.azure.com')}"}
    found = httpx.get(f"https://{REGION}/registrymanagement/v1.0/registries/labmodels/discovery", headers=way).json()
    place = f"/subscriptions/{found['subscriptionId']}/resourceGroups/{found['resourceGroup']}/providers/{ML}/registries/labmodels"
    base = f"{found['primaryRegionResourceProviderUri']}mferp/managementfrontend{place}"
    asset = {"assetId": "azureml://registries/labmodels/models/travel/versions/1", "temporaryDataReferenceType": "TemporaryBlobReference"}
    given = httpx.put(f"{base}/tempdatarefs/travel/versions/1", params=API, json=asset, headers=way).json()["blobReferenceForConsumption"]
    blob = httpx.URL(given["credential"]["sasUri"])
    sent = httpx.put(blob.copy_with(path=f"{blob.path}/a.bin"), content=b"abc", headers={"x-ms-blob-type": "BlockBlob"})
    assert sent.status_code == 201, sent.text
    body = {"properties": {"modelUri": f"{given['blobUri']}/a.bin", "modelType": "custom_model"}}
    assert httpx.put(f"{base}/models/travel/versions/1", params=API, json=body, headers=way).status_code == 201
    assert httpx.put(f"{base}/tempdatarefs/travel/versions/1", params=API, json=asset, headers=way).status_code == 409
    wanted = {"assetId": asset["assetId"], "blobUri": given["blobUri"]}
    read = httpx.post(f"{base}/datarefs/travel/versions/1", params=API, json=wanted, headers=way).json()["blobReferenceForConsumption"]
    there = httpx.URL(read["credential"]["sasUri"])
    assert httpx.get(there.copy_with(path=f"{there.path}/a.bin")).content == b"abc"
    assert httpx.get(f"https://{REGION}/registrymanagement/v1.0/registries/nobodys/discovery", headers=way).status_code == 404


def test_only_a_person_who_says_yes_ends_a_device_code_well(lab):
    form = {"client_id": "some-client", "scope": "https://management.azure.com/.default offline_access"}
    begun = httpx.post(f"https://{ENTRA}/organizations/oauth2/v2.0/devicecode", data=form).json()
    assert begun["verification_uri"] == SIGN_IN_PAGE
    code = {**form, "grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": begun["device_code"]}
    poll = lambda: httpx.post(f"https://{ENTRA}/organizations/oauth2/v2.0/token", data=code).json()  # noqa: E731
    assert poll()["error"] == "authorization_pending"
    lab.cloud.approve(begun["user_code"])
    given = poll()
    again = {**form, "grant_type": "refresh_token", "refresh_token": given["refresh_token"], "scope": "https://storage.azure.com/.default"}
    assert "access_token" in httpx.post(f"https://{ENTRA}/{TENANT}/oauth2/v2.0/token", data=again).json()
    lab.cloud.people.revoke()
    assert httpx.post(f"https://{ENTRA}/{TENANT}/oauth2/v2.0/token", data=again).json()["error"] == "invalid_grant"


def test_what_refers_to_an_image_is_listed_as_registries_of_azure_do(lab):
    way, subject = access(lab), f"sha256:{'0' * 64}"
    assert upload(lab, b"{}", way).status_code == 201
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": f"sha256:{hashlib.sha256(b'{}').hexdigest()}", "size": 2}
    kind = "application/vnd.oci.image.manifest.v1+json"
    about = {"schemaVersion": 2, "mediaType": kind, "artifactType": "text/recipe", "config": empty, "layers": [empty]}
    manifest = json.dumps({**about, "subject": {"mediaType": kind, "digest": subject, "size": 1}}).encode()
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    put = httpx.put(f"{V2}/travel/manifests/{digest}", content=manifest, headers={**way, "Content-Type": kind})
    assert (put.status_code, put.headers["oci-subject"]) == (201, subject), put.text
    listed = httpx.get(f"{V2}/travel/referrers/{subject}", headers=way).json()["manifests"]
    assert [(one["digest"], one["artifactType"]) for one in listed] == [(digest, "text/recipe")]
    assert httpx.get(f"{V2}/travel/referrers/{subject}").status_code == 401
    lab.registry.keeps_referrers = False
    assert httpx.get(f"{V2}/travel/referrers/{subject}", headers=way).status_code == 404


def test_a_secret_that_was_left_somewhere_is_found(lab, tmp_path):
    token, sas = lab.cloud.token("https://management.azure.com"), lab.cloud.resources.secrets("by_sas")["sasToken"]
    assert lab.leaks(tmp_path, "nothing of it, sig=, Bearer") == []
    (tmp_path / "log.txt").write_text(f"GET https://{STORAGE}/x?{sas}")
    (tmp_path / "events.jsonl").write_text(json.dumps({"error": f"Bearer {token}"}))
    (tmp_path / "owners").write_text(token)
    (tmp_path / "owners").chmod(0o600)
    found = lab.leaks(tmp_path, f"key {lab.cloud.resources.key}", "harmless")
    assert sorted(found[:2]) == [str(tmp_path / "events.jsonl"), str(tmp_path / "log.txt")]
    assert found[2:] == [f"key {lab.cloud.resources.key}"]
