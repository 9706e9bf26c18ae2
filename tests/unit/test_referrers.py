"""Artifacts beside an image, in a registry that lists them by itself; one that does not is asked in tests/cli/test_publishing.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.services.strict_registry import MANIFEST, Fault, StrictRegistry
from toolkit.core.engine import Credentials
from toolkit.core.reference import parse
from toolkit.core.referrers import attach, attached, content_of
from toolkit.core.registry_session import Patience, Session
from toolkit.errors import PublishError, RegistryDenied

NOTE, OTHER = "application/vnd.example.note.v1+json", "application/vnd.example.other.v1+json"


@dataclass
class ListingRegistry(StrictRegistry):
    """One that keeps the list of referrers itself, as OCI 1.1 has it."""

    referrers: dict[str, dict[str, dict]] = field(default_factory=dict)
    """Descriptors by subject and digest."""

    def answer(self, request) -> None:
        subject = urlsplit(request.path).path.partition("/referrers/")[2]
        if not subject:
            return super().answer(request)
        self.requests.append((request.command, request.path))
        kinds = parse_qs(urlsplit(request.path).query).get("artifactType")
        found = [entry for entry in self.referrers.get(subject, {}).values() if not kinds or entry["artifactType"] in kinds]
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": found}
        return request.says(200, json.dumps(index).encode(), {"Content-Type": index["mediaType"]})

    def _manifest(self, request, repository: str, name: str) -> None:
        if request.command != "PUT":
            return super()._manifest(request, repository, name)
        content = request.content()
        listed, digest = json.loads(content), f"sha256:{hashlib.sha256(content).hexdigest()}"
        subject = listed["subject"]["digest"]
        if name != digest or any((repository, entry["digest"]) not in self.blobs for entry in (listed["config"], *listed["layers"])):
            return self._refuse(request, 400, "MANIFEST_BLOB_UNKNOWN")
        self.manifests[repository, digest] = content
        told = {"mediaType": MANIFEST, "digest": digest, "size": len(content), "artifactType": listed["artifactType"]}
        self.referrers.setdefault(subject, {})[digest] = {**told, "annotations": listed.get("annotations", {})}
        return request.says(201, headers={"Docker-Content-Digest": digest, "OCI-Subject": subject, "Location": "/"})


@pytest.fixture
def registry() -> Iterator[ListingRegistry]:
    with ListingRegistry().running() as running:
        yield running
        assert running.wrongs == []


@pytest.fixture
def image(registry) -> str:
    """Digest of an image that is there."""
    content = json.dumps({"mediaType": MANIFEST, "layers": []}).encode()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    registry.manifests["travel", digest] = content
    return digest


def session(registry, **more):
    access = Credentials(registry.user, registry.password) if registry.sign_in else None
    return closing(Session(parse(f"{registry.address}/travel"), access, Patience(first_seconds=0.001), **more))


def test_it_is_listed_by_the_registry_and_under_no_tag(registry, image):
    with session(registry) as talk:
        left = attach(talk, image, NOTE, b'{"a": 1}', {"who": "ada"})
        attach(talk, image, OTHER, b"{}", {})
        assert attached(talk, image, NOTE) == [left] and len(attached(talk, image)) == 2
        assert (left.annotations, content_of(talk, left)) == ({"who": "ada"}, b'{"a": 1}')
    assert registry.tags == {}


def test_it_says_which_image_it_is_about_and_needs_no_layer_but_its_own(registry, image):
    with session(registry) as talk:
        left = attach(talk, image, NOTE, b'{"a": 1}', {})
    manifest = json.loads(registry.manifests["travel", left.digest])
    subject = {"mediaType": MANIFEST, "digest": image, "size": len(registry.manifests["travel", image])}
    assert (manifest["subject"], manifest["artifactType"]) == (subject, NOTE)
    assert manifest["config"]["mediaType"] == "application/vnd.oci.empty.v1+json" and len(manifest["layers"]) == 1


def test_the_same_again_sends_no_blob_and_adds_nothing(registry, image):
    with session(registry) as talk:
        first = attach(talk, image, NOTE, b'{"a": 1}', {})
        sent = registry.count("POST")
        assert attach(talk, image, NOTE, b'{"a": 1}', {}) == first
        assert registry.count("POST") == sent and len(attached(talk, image)) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PUT", r"digest=", status=503, headers={"Retry-After": "0"}),
        Fault("PUT", r"digest=", cut_after=1 << 20),
        Fault("PUT", r"/manifests/", cut_after=1 << 20),
        Fault("POST", r"/uploads/", status=429),
        Fault("HEAD", r"/manifests/", status=502),
    ],
    ids=lambda fault: f"{fault.method} {fault.path} {fault.status or 'cut'}",
)
def test_what_passes_is_waited_for(registry, image, fault):
    registry.faults.append(fault)
    with session(registry, sleep=lambda _: None) as talk:
        left = attach(talk, image, NOTE, b'{"a": 1}', {})
        assert attached(talk, image) == [left] and fault.times == 0


def test_one_who_may_only_read_is_told_so(registry, image):
    registry.faults.append(Fault("POST", status=403, body=b'{"errors": [{"code": "DENIED", "message": "pull only"}]}'))
    with session(registry) as talk, pytest.raises(RegistryDenied, match="pull only"):
        attach(talk, image, NOTE, b"{}", {})


def test_what_is_not_what_its_digest_says_is_not_believed(registry, image):
    with session(registry) as talk:
        left = attach(talk, image, NOTE, b'{"a": 1}', {})
        digest = json.loads(registry.manifests["travel", left.digest])["layers"][0]["digest"]
        registry.blobs["travel", digest] = b'{"a": 2}'
        with pytest.raises(PublishError, match="not what its digest says"):
            content_of(talk, left)


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b'{"manifests": 3}'])
def test_garbage_is_no_list(registry, image, answer):
    registry.answer = lambda request: request.says(200, answer)
    with session(registry) as talk, pytest.raises(PublishError):
        attached(talk, image)


def test_a_list_longer_than_is_read_is_an_error_and_not_half_a_list(registry, image):
    with session(registry) as talk:
        for number in range(400):
            registry.referrers.setdefault(image, {})[str(number)] = {
                "digest": str(number),
                "artifactType": NOTE,
                "size": 1,
                "annotations": {"x": "y" * 200},
            }
        with pytest.raises(PublishError, match="longer than is read"):
            attached(talk, image)
