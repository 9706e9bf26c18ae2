"""Asking a registry what it really holds, over its own HTTP interface (OCI distribution specification)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from toolkit.core.reference import Reference
from toolkit.core.registry_access import Access, LetIn, let_in, way_out
from toolkit.core.registry_session import ELSEWHERE, Answer, beginning, keep_quiet, why
from toolkit.errors import PublishError, RegistryDenied

if TYPE_CHECKING:
    import httpx

MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
PAGE, PAGES = 100, 10
"""Tags a page, and the most pages that are read."""
CONFIG_BYTES = 4 << 20
"""A larger configuration is nobody's image."""


@dataclass(frozen=True)
class Stored:
    """An image as the registry has it."""

    digest: str
    layers: tuple[str, ...]
    """Digests of the layers as stored (compressed), base first."""
    bytes: int
    """Bytes of its layers as stored."""
    config: str = ""
    """Digest of its configuration, which is also the id by which an engine knows the image."""
    config_bytes: int = 0
    sizes: tuple[int, ...] = ()
    images: tuple[str, ...] = ()
    """Digests of the images of an index; none: it is an image itself."""


class Conversation:
    """Talking with a registry about one repository. Signs in when asked to, and stays signed in."""

    def __init__(self, reference: Reference, access: Access, client: httpx.Client | None = None) -> None:
        self.reference = reference
        self._access = access
        import httpx  # takes as long to load as the whole first screen

        keep_quiet()
        self._client = client or httpx.Client(timeout=30)
        self._base = f"{'http' if reference.is_loopback else 'https'}://{reference.host}/v2/{reference.repository}/"
        self._let_in = LetIn("")

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def stored(self, tag: str = "") -> Stored | None:
        """What the registry holds under a tag or digest; None where it holds nothing.

        Raises:
            RegistryDenied: it does not let us in.
            PublishError: it does not answer, or answers nonsense.
        """
        answer = self._get(f"manifests/{tag or self.reference.tag}", ", ".join(MANIFESTS))
        if answer.status == 404:
            return None
        self._check(answer)
        manifest = _object(answer, self.reference)
        layers, config = _listed(manifest, "layers"), manifest.get("config") or {}
        return Stored(
            digest=f"sha256:{hashlib.sha256(answer.content).hexdigest()}",
            layers=tuple(str(layer.get("digest", "")) for layer in layers),
            bytes=sum(int(layer.get("size", 0)) for layer in layers),
            config=str(config.get("digest", "")),
            config_bytes=int(config.get("size", 0)),
            sizes=tuple(int(layer.get("size", 0)) for layer in layers),
            images=tuple(str(image.get("digest", "")) for image in _listed(manifest, "manifests")),
        )

    def tags(self) -> list[str] | None:
        """Tags of the repository, in the registry's order; None where it does not list them for us."""
        found: list[str] = []
        path = f"tags/list?n={PAGE}"
        for _ in range(PAGES):
            answer = self._get(path, "application/json")
            if answer.status == 404 and b"NAME_UNKNOWN" in answer.content:
                return []
            if answer.status != 200:
                return None
            found += [str(tag) for tag in _object(answer, self.reference).get("tags") or []]
            path = self._next_page(answer)
            if not path:
                break
        return found

    def _next_page(self, answer: Answer) -> str:
        found = re.search(r'<([^>]*)>\s*;[^,]*\brel="?next\b', answer.headers.get("link", ""))
        target = found[1] if found else ""
        page = urljoin(answer.url, target)
        return page if target and urlsplit(page).netloc == self.reference.host else ""

    def layer_sizes(self, image: Stored) -> dict[str, int]:
        """Bytes as stored of each layer, by its diff id: the id of its content unpacked, which the configuration lists."""
        if not image.config or image.config_bytes > CONFIG_BYTES:
            return {}
        answer = self._get(f"blobs/{image.config}", "*/*")
        if answer.status != 200:
            return {}
        ids = (_object(answer, self.reference).get("rootfs") or {}).get("diff_ids") or []
        return dict(zip(map(str, ids), image.sizes, strict=True)) if len(ids) == len(image.sizes) else {}

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has it; where a registry sends us elsewhere for it, it has."""
        return self._has(f"blobs/{digest}")

    def has_manifest(self, digest: str) -> bool:
        return self._has(f"manifests/{digest}")

    def _has(self, path: str) -> bool:
        answer = self._ask("HEAD", path, ", ".join(MANIFESTS) if path.startswith("manifests") else "*/*")
        if answer.status == 404:
            return False
        if answer.status not in ELSEWHERE:
            self._check(answer)
        return True

    def _get(self, path: str, accept: str) -> Answer:
        return self._ask("GET", path, accept)

    def _ask(self, method: str, path: str, accept: str) -> Answer:
        import httpx

        url = urljoin(self._base, path)
        try:
            answer = self._send(method, url, accept)
            if answer.status == 401:
                wanted, was_refused = answer.headers.get("www-authenticate", ""), bool(self._let_in.header)
                self._let_in = let_in(self._client, wanted, self.reference, self._access, is_refused=was_refused)
                answer = self._send(method, url, accept)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as exc:
            raise PublishError(
                f"The registry {self.reference.host} does not answer: {why(exc)}.",
                "Check its name and your network, then try again (`edge resume` goes on with a run).",
            ) from exc
        return answer

    def _send(self, method: str, url: str, accept: str) -> Answer:
        own = {"Authorization": self._let_in.header} if self._let_in.header else {}
        with self._client.stream(method, url, headers={"Accept": accept, **own}, follow_redirects=method != "HEAD") as answer:
            content = b"" if method == "HEAD" else beginning(answer.iter_bytes(), CONFIG_BYTES)
            return Answer(answer.status_code, answer.headers, content, str(answer.url))

    def _check(self, answer: Answer) -> None:
        if answer.status in (401, 403):
            raise RegistryDenied(f"The registry refused the credentials for {self.reference}.", way_out(self._access))
        if answer.status != 200:
            raise PublishError(f"The registry answered {answer.status} for {self.reference}.", "Try again; if it stays, ask its keeper.")


def _object(answer: Answer, reference: Reference) -> Mapping:
    with suppress(ValueError):
        value = json.loads(answer.content)
        if isinstance(value, dict):
            return value
    raise PublishError(f"What answers at {reference.host} is no registry.", "Check the host and its port.")


def _listed(manifest: Mapping, key: str) -> list[Mapping]:
    return [entry for entry in manifest.get(key) or [] if isinstance(entry, dict)]


def newest_first(tags: list[str]) -> list[str]:
    """Tags by the numbers in them, greatest first: builds are numbered, and registries do not say when a tag was pushed."""
    return sorted(
        tags, key=lambda tag: [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", tag)], reverse=True
    )
