"""Artifacts that refer to an image in a registry, as OCI 1.1 has them: the image leads to them, and its digest stays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from toolkit.core.oci_layout import INDEX_TYPE, MANIFEST_TYPE, digest_of
from toolkit.core.registry_session import SAID_BYTES, Answer, Session
from toolkit.errors import PublishError

EMPTY_TYPE, EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
OCTETS = "application/octet-stream"
LIST_TRIES = 4


@dataclass(frozen=True)
class Referrer:
    """An artifact that refers to an image."""

    digest: str
    size: int
    type: str
    annotations: Mapping[str, str] = field(default_factory=dict)

    def descriptor(self) -> dict:
        told = {"mediaType": MANIFEST_TYPE, "digest": self.digest, "size": self.size, "artifactType": self.type}
        return {**told, "annotations": dict(self.annotations)} if self.annotations else told


def attach(session: Session, image: str, kind: str, content: bytes, annotations: Mapping[str, str]) -> Referrer:
    """Lay `content` beside the image of that digest; the same content again changes nothing.

    Raises:
        PublishError: the image is not there, or the registry refused.
    """
    subject = _subject(session, image)
    layer = {"mediaType": kind, "digest": digest_of(content), "size": len(content)}
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": kind,
        "config": {"mediaType": EMPTY_TYPE, "digest": digest_of(EMPTY), "size": len(EMPTY)},
        "layers": [layer],
        "subject": subject,
        "annotations": dict(annotations),
    }
    body = json.dumps(manifest, sort_keys=True).encode()
    referrer = Referrer(digest_of(body), len(body), kind, annotations)
    if any(there.digest == referrer.digest for there in attached(session, image)):
        return referrer
    for blob in (content, EMPTY):
        _put_blob(session, blob)
    answer = _put_manifest(session, referrer.digest, MANIFEST_TYPE, body)
    if "oci-subject" not in answer.headers:  # the registry keeps no list of referrers: we do, under a tag
        _add_to_list(session, image, referrer)
    return referrer


def attached(session: Session, image: str, kind: str = "") -> list[Referrer]:
    """What refers to the image, of one kind or all."""
    index = _index(session, f"referrers/{image}") or _index(session, f"manifests/{_list_tag(image)}") or {}
    entries = _entries(index, session)
    found = [Referrer(*map(entry.get, ("digest", "size", "artifactType")), entry.get("annotations") or {}) for entry in entries]
    return [referrer for referrer in found if referrer.type == kind or not kind]


def content_of(session: Session, referrer: Referrer) -> bytes:
    """What was laid beside the image.

    Raises:
        PublishError: it is not there, or not what its digest says.
    """
    manifest = _object(_get(session, f"manifests/{referrer.digest}", MANIFEST_TYPE), session)
    try:
        digest = manifest["layers"][0]["digest"]
    except (LookupError, TypeError) as exc:
        raise PublishError(f"{referrer.digest} in {session.reference} holds nothing.", "Publish again.") from exc
    answer = _get(session, f"blobs/{digest}", "*/*")
    if digest_of(answer.content) != digest:
        raise PublishError(f"{digest} in {session.reference} is not what its digest says.", "Publish again.")
    return answer.content


def _subject(session: Session, image: str) -> dict:
    url = session.url(f"manifests/{image}")
    accept = {"Accept": f"{MANIFEST_TYPE}, {DOCKER_MANIFEST}, {INDEX_TYPE}"}
    answer = session.patiently(lambda: session.ask("HEAD", url, (200, 404), headers=accept))
    size = answer.headers.get("content-length", "")
    if answer.status == 404 or not size.isdigit():
        raise PublishError(f"The registry does not hold {image} in {session.reference.repository}.", "Push again.")
    return {"mediaType": answer.headers.get("content-type", MANIFEST_TYPE).partition(";")[0], "digest": image, "size": int(size)}


def _put_blob(session: Session, content: bytes) -> str:
    """A blob of few bytes, in one piece."""
    digest = digest_of(content)
    there = session.url(f"blobs/{digest}")
    if session.patiently(lambda: session.ask("HEAD", there, (200, 404))).status == 200:
        return digest

    def send() -> None:
        begin = session.url("blobs/uploads/")
        location = session.url(session.ask("POST", begin, (202,)).headers.get("location", ""), begin)
        url = f"{location}{'&' if '?' in location else '?'}digest={quote(digest, safe='')}"
        headers = {"Content-Type": OCTETS, "Content-Length": str(len(content))}
        session.ask("PUT", url, (201, 204), lambda: iter([content]), headers)

    session.patiently(send)
    return digest


def _put_manifest(session: Session, name: str, kind: str, body: bytes) -> Answer:
    url, headers = session.url(f"manifests/{name}"), {"Content-Type": kind, "Content-Length": str(len(body))}
    return session.patiently(lambda: session.ask("PUT", url, (200, 201, 202), lambda: iter([body]), headers))


def _add_to_list(session: Session, image: str, referrer: Referrer) -> None:
    """Add to the list that a client keeps under a tag where the registry keeps none. It has no lock: who writes looks again."""
    for _ in range(LIST_TRIES):
        index = _index(session, f"manifests/{_list_tag(image)}") or {"schemaVersion": 2, "mediaType": INDEX_TYPE}
        entries = _entries(index, session)
        if any(entry.get("digest") == referrer.digest for entry in entries):
            return
        body = json.dumps({**index, "manifests": [*entries, referrer.descriptor()]}, sort_keys=True).encode()
        _put_manifest(session, _list_tag(image), INDEX_TYPE, body)


def _list_tag(image: str) -> str:
    return image.replace(":", "-")


def _index(session: Session, path: str) -> dict | None:
    """None where there is none, or the registry does not know the question."""
    url = session.url(path)
    answer = session.patiently(lambda: session.ask("GET", url, (200, 400, 404, 405), headers={"Accept": INDEX_TYPE}))
    return _object(answer, session) if answer.status == 200 else None


def _entries(index: Mapping, session: Session) -> list[dict]:
    listed = index.get("manifests") or []
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise _no_registry(session)
    return listed


def _no_registry(session: Session) -> PublishError:
    return PublishError(f"What answers at {session.reference.host} is no registry.", "Check the host and its port.")


def _get(session: Session, path: str, accept: str) -> Answer:
    url = session.url(path)
    answer = session.patiently(lambda: session.ask("GET", url, (200, 404), headers={"Accept": accept}))
    if answer.status == 404:
        raise PublishError(f"The registry does not hold {path.rpartition('/')[2]} in {session.reference.repository}.", "Publish again.")
    return answer


def _object(answer: Answer, session: Session) -> dict:
    if len(answer.content) >= SAID_BYTES:
        raise PublishError(f"The registry's list for {session.reference} is longer than is read.", "Remove old links there.")
    try:
        value = json.loads(answer.content)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise _no_registry(session)
    return value
