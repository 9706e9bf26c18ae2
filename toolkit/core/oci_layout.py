"""An OCI image layout on disk: a packaged image as files that anybody's tools read, and that need no engine to be kept or moved.

Blobs are named by their content and written once: one that an earlier packaging of this home left is linked, not written. They
appear under their names only when whole and on the disk, so that a killed packaging goes on with what is there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from toolkit.core.big_file import Piece, Tell, write_hashed
from toolkit.core.files import write_text
from toolkit.errors import RunError

INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
TITLE = "edge-toolkit.layer"
"""Annotation of a layer: its name."""
CONTAINERD_NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
MARKER = '{"imageLayoutVersion": "1.0.0"}'
BLOBS = "blobs/sha256"
PART = ".part"


@dataclass(frozen=True)
class StoredLayer:
    """A layer as a blob; its digest is its diff id, for none is compressed."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True)
class Layout:
    """A whole image layout."""

    folder: Path
    tag: str
    manifest: str
    """Digest of the manifest: what a registry and newer engines know the image by."""
    config: str
    """Digest of the configuration: what Docker's engine knows the image by."""
    layers: tuple[StoredLayer, ...]

    @property
    def bytes(self) -> int:
        """Of its layers."""
        return sum({layer.digest: layer.size for layer in self.layers}.values())

    @property
    def diff_ids(self) -> tuple[str, ...]:
        return tuple(layer.digest for layer in self.layers)

    def blob(self, digest: str) -> Path:
        return self.folder / BLOBS / digest.removeprefix("sha256:")


class Blobs:
    """The blobs of a layout that is being made; `shared` are those of other layouts, by digest."""

    def __init__(self, folder: Path, shared: dict[str, Path] | None = None) -> None:
        self._folder = folder / BLOBS
        self._folder.mkdir(parents=True, exist_ok=True)
        for left_over in self._folder.glob(f"*{PART}"):
            left_over.unlink()
        self._shared = shared or {}
        self.added = 0
        """Bytes of blobs that were not there."""

    def path(self, digest: str) -> Path:
        return self._folder / digest.removeprefix("sha256:")

    def sizes(self) -> set[int]:
        """Sizes of all blobs that are at hand, here and in other layouts."""
        sizes = set()
        for path in [*self._folder.iterdir(), *self._shared.values()]:
            with suppress(FileNotFoundError):
                sizes.add(path.stat().st_size)
        return sizes

    def has(self, digest: str) -> bool:
        """It is here, or another layout has it and it is here from now on."""
        if self.path(digest).exists():
            return True
        with suppress(OSError, KeyError):  # its run was deleted meanwhile, or it lies on another disk
            os.link(self._shared[digest], self.path(digest))
            return True
        return False

    def write(self, pieces: Iterable[Piece], size: int, tell: Tell = lambda done: None) -> str:
        """Write a blob; its digest.

        Raises:
            DiskError: it does not fit.
        """
        part = self._folder / f"{os.getpid()}{PART}"
        digest = f"sha256:{write_hashed(part, pieces, size, tell)}"
        if self.has(digest):
            part.unlink()
            return digest
        self.added += part.stat().st_size
        part.chmod(0o444)  # other layouts share the file
        os.replace(part, self.path(digest))
        return digest

    def put(self, content: bytes) -> str:
        """Write a small blob, unless it is there."""
        digest = digest_of(content)
        return digest if self.has(digest) else self.write([content], len(content))

    def keep_only(self, digests: Iterable[str]) -> None:
        """Remove blobs that an earlier attempt left, and have the names of the others on the disk."""
        kept = {self.path(digest).name for digest in digests}
        for path in self._folder.iterdir():
            if path.name not in kept:
                path.unlink()
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def finish(
    folder: Path, blobs: Blobs, tag: str, config: bytes, layers: Sequence[StoredLayer], annotations: Mapping[str, str] | None = None
) -> Layout:
    """Complete a layout whose layers are there: configuration, manifest and, written last, the index."""
    platform = json.loads(config)
    config_digest = blobs.put(config)
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": config_digest, "size": len(config)},
            "layers": [
                {"mediaType": LAYER_TYPE, "digest": layer.digest, "size": layer.size, "annotations": {TITLE: layer.name}}
                for layer in layers
            ],
            **({"annotations": dict(annotations)} if annotations else {}),
        },
        sort_keys=True,
    ).encode()
    digest = blobs.put(manifest)
    blobs.keep_only([config_digest, digest, *(layer.digest for layer in layers)])
    entry = {
        "mediaType": MANIFEST_TYPE,
        "digest": digest,
        "size": len(manifest),
        "platform": {"architecture": platform["architecture"], "os": platform["os"]},
        "annotations": names_of(tag),
    }
    write_text(folder / "oci-layout", MARKER)
    write_text(folder / "index.json", json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}, sort_keys=True))
    return Layout(folder, tag, digest, config_digest, tuple(layers))


def names_of(tag: str) -> dict[str, str]:
    """Annotations by which tools name an image that they take in: containerd and Podman by the whole name, others by the tag."""
    host = tag.partition("/")[0]
    is_whole = "/" in tag and ("." in host or ":" in host or host == "localhost")
    whole = tag if is_whole else f"docker.io/{tag if '/' in tag else f'library/{tag}'}"
    return {CONTAINERD_NAME: whole, REF_NAME: tag.rpartition(":")[2]}


def read(folder: Path, tag: str = "") -> Layout:
    """The layout in a folder, as `tag` if given.

    Raises:
        RunError: there is none, or it is not whole.
    """
    try:
        return _read(folder, tag)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as exc:
        raise RunError(f"{folder} holds no whole image layout: {exc}.", "`edge package` the build again.") from exc


def _read(folder: Path, tag: str) -> Layout:
    [entry] = json.loads((folder / "index.json").read_text("utf-8"))["manifests"]
    manifest = json.loads(_blob(folder, entry["digest"]).read_text("utf-8"))
    layers = [StoredLayer(layer.get("annotations", {}).get(TITLE, ""), layer["digest"], layer["size"]) for layer in manifest["layers"]]
    for layer in layers:
        size = _blob(folder, layer.digest).stat().st_size
        if size != layer.size:
            raise ValueError(f"{layer.name or layer.digest} has {size} bytes instead of {layer.size}")
    name = entry["annotations"][CONTAINERD_NAME].removeprefix("docker.io/").removeprefix("library/")
    return Layout(folder, tag or name, entry["digest"], manifest["config"]["digest"], tuple(layers))


def _blob(folder: Path, digest: str) -> Path:
    return folder / BLOBS / digest.removeprefix("sha256:")


def blobs_of(layouts: Iterable[Path]) -> dict[str, Path]:
    """Every blob of these folders by its digest; unfinished layouts count too, for a blob has its name only when it is whole."""
    found: dict[str, Path] = {}
    for folder in layouts:
        with suppress(OSError):
            found |= {f"sha256:{path.name}": path for path in (folder / BLOBS).iterdir() if not path.name.endswith(PART)}
    return found
