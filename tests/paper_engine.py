"""An image engine in memory that keeps layers and configurations as Docker's classic store does, and complains as it does."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.fakes import FakeImages
from toolkit.core.engine import EngineFacts, Image, ImageLayer
from toolkit.errors import EngineError


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass
class PaperEngine(FakeImages):
    """Takes archives in and saves them again. A layer is known by all layers below it, as in the classic store."""

    layers_held: dict[tuple[str, ...], bytes] = field(default_factory=dict)
    """Tars by their chain of diff ids."""
    configs: dict[str, bytes] = field(default_factory=dict)
    """By image id."""
    root: str = "/nonexistent"
    wants_every_layer: bool = False
    """Refuse an archive that leaves a layer out, as containerd's store does."""
    saves: int = 0
    """How often an image was saved."""

    def facts(self) -> EngineFacts:
        return EngineFacts("20.10", "1.41", "overlay2", self.root, 1, 1)

    def add_base(self, tag: str, tars: list[bytes], labels: Mapping[str, str] | None = None) -> Image:
        """An image as a build makes it."""
        rootfs = {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]}
        config = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"], "Labels": dict(labels or {})}, "rootfs": rootfs}
        content = json.dumps(config).encode()
        self._hold(tars)
        return self._register(content, [tag])

    def _hold(self, tars: list[bytes]) -> None:
        chain: tuple[str, ...] = ()
        for tar in tars:
            chain = (*chain, sha256(tar))
            self.layers_held[chain] = tar

    def _register(self, content: bytes, tags: list[str]) -> Image:
        config = json.loads(content)
        layers = tuple(config["rootfs"]["diff_ids"])
        told = {"Config": config["config"], "Os": config["os"], "Architecture": config["architecture"]}
        size = sum(len(self.layers_held[layers[: place + 1]]) for place in range(len(layers)))
        image = Image(sha256(content), tuple(tags), size, "", config["config"].get("Labels") or {}, layers, told)
        self.configs[image.id] = content
        self.known |= dict.fromkeys(tags, image)
        for diff_id, made in zip(layers, config.get("history", []), strict=False):
            self.of_layers[diff_id] = ImageLayer(diff_id, 1, made["created_by"])
        return image

    def load(self, archive: Iterable[bytes]) -> None:
        content = b"".join(archive)
        self.archives.append(content)
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
        [listed] = json.loads(members["manifest.json"])
        config = members[listed["Config"]]
        chain: tuple[str, ...] = ()
        for diff_id, name in zip(json.loads(config)["rootfs"]["diff_ids"], listed["Layers"], strict=True):
            chain = (*chain, diff_id)
            if name not in members and (self.wants_every_layer or chain not in self.layers_held):
                raise EngineError(f"The Docker engine did not take the image: open /tmp/{name}: no such file or directory")
            if name in members and sha256(members[name]) != diff_id:
                raise EngineError("invalid diffID")
            self.layers_held.setdefault(chain, members.get(name, b""))
        self._register(config, listed["RepoTags"])

    def save(self, reference: str) -> Iterable[bytes]:
        """As 20.10 does: a folder a layer, the list of contents last, the same tar twice as a link."""
        self.saves += 1
        image = self.find(reference)
        assert image
        out = io.BytesIO()
        first: dict[str, str] = {}
        names = []
        with tarfile.open(fileobj=out, mode="w") as tar:
            for place, diff_id in enumerate(image.layers):
                info = tarfile.TarInfo(f"layer{place}/layer.tar")
                names.append(info.name)
                if diff_id in first:
                    info.type, info.linkname = tarfile.SYMTYPE, f"../{first[diff_id]}"
                    tar.addfile(info)
                    continue
                first[diff_id] = info.name
                _add(tar, info, self.layers_held[image.layers[: place + 1]])
            config = self.configs[image.id]
            name = f"{image.id.removeprefix('sha256:')}.json"
            _add(tar, tarfile.TarInfo(name), config)
            listed = [{"Config": name, "RepoTags": list(image.tags), "Layers": names}]
            _add(tar, tarfile.TarInfo("manifest.json"), json.dumps(listed).encode())
        content = out.getvalue()
        return [content[start : start + 100_000] for start in range(0, len(content), 100_000)]


def _add(tar: tarfile.TarFile, info: tarfile.TarInfo, content: bytes) -> None:
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
