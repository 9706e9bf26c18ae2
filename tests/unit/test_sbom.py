"""The bill of materials: every component and file of the runtime with its origin, the layers on top, and the same each time."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.layouts import laid_out
from tests.paper_engine import PaperEngine
from toolkit.core.engine import LABEL
from toolkit.core.layers import LAYER_NAMES, Layer, LayerFile
from toolkit.core.oci_layout import Layout
from toolkit.core.sbom import ORIGINS, bill_of_materials
from toolkit.errors import RunError

ORIGINS_TOLD = {
    "format": 1,
    "components": {
        "deb/libstdc++6": {"kind": "deb", "name": "libstdc++6", "version": "12.2.0-14+deb12u1", "source": "gcc-12", "system": "debian-12"},
        "wheel/h11": {"kind": "wheel", "name": "h11", "version": "0.16.0", "sha256": "a" * 64},
        "edge/assembly": {"kind": "edge", "name": "assembly"},
    },
    "files": {
        "/usr/lib/libstdc++.so.6": {"from": "deb/libstdc++6", "sha256": "b" * 64},
        "/opt/edge/packages/h11/__init__.pyc": {"from": "wheel/h11", "sha256": "c" * 64, "change": "compiled"},
        "/etc/passwd": {"from": "edge/assembly", "sha256": "d" * 64, "change": "the accounts"},
    },
}


def tar_of(**files: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            data = json.dumps(content).encode()
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def packaged(tmp_path: Path, **server_files: object) -> Layout:
    engine = PaperEngine()
    base = engine.add_base("edge-toolkit/runtime-cpu:1", [tar_of(python=1), tar_of(**server_files)], {LAYER_NAMES: "python,server"})
    layers = [Layer("model", (LayerFile(b"weights", "/model/model.onnx"),)), Layer("adapter travel", (LayerFile(b"lora", "/adapters/x"),))]
    return laid_out(tmp_path / "runs/0001-package-travel/image", engine, base, layers, {f"{LABEL}.kind": "image"}, "edge/travel:1")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return packaged(tmp_path, **{ORIGINS: ORIGINS_TOLD})


def test_scanners_are_told_each_package_by_the_name_that_advisories_use(layout: Layout) -> None:
    told = {component["name"]: component.get("purl") for component in bill_of_materials(layout)["components"]}
    assert told["h11"] == "pkg:pypi/h11@0.16.0"
    assert told["libstdc++6"].startswith("pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=")
    assert told["libstdc++6"].endswith("&distro=debian-12&upstream=gcc-12")
    assert told["assembly"] is None


def test_every_file_stands_under_what_it_came_from_with_its_hash(layout: Layout) -> None:
    files = {file["name"]: file for found in bill_of_materials(layout)["components"] for file in found.get("components", [])}
    assert {name: file["hashes"][0]["content"] for name, file in files.items()} == {
        name: told["sha256"] for name, told in ORIGINS_TOLD["files"].items()
    }
    assert files["/opt/edge/packages/h11/__init__.pyc"]["description"] == "compiled"


def test_model_and_adapters_are_named_by_their_layers_digests(layout: Layout) -> None:
    bill = bill_of_materials(layout)
    models = {found["name"]: found["hashes"][0]["content"] for found in bill["components"] if found["type"] == "machine-learning-model"}
    digests = {layer.name: layer.digest.removeprefix("sha256:") for layer in layout.layers}
    assert models == {name: digests[name] for name in ("model", "adapter travel")}
    assert bill["metadata"]["component"]["version"] == layout.manifest


def test_the_same_image_has_the_same_bill(layout: Layout, tmp_path: Path) -> None:
    other = packaged(tmp_path / "elsewhere", **{ORIGINS: ORIGINS_TOLD})
    assert bill_of_materials(other) == bill_of_materials(layout)


def test_a_runtime_that_tells_no_origins_is_said_to(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not say where its files came from"):
        bill_of_materials(packaged(tmp_path, other=1))


def test_origins_of_a_newer_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="newer than 1"):
        bill_of_materials(packaged(tmp_path, **{ORIGINS: ORIGINS_TOLD | {"format": 2}}))
