"""What a packaged image is made of, as a bill of materials that scanners read: CycloneDX 1.6, the same for the same image on any day."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from toolkit.core.oci_layout import Layout, StoredLayer
from toolkit.errors import RunError

ORIGINS = "opt/edge/origins.json"
"""In the runtime's layers: where each of its files came from. containers/runtime/assembly/origins.py writes it."""
FORMAT = 1
OWN_LAYERS = {"model": "machine-learning-model", "adapter": "machine-learning-model", "configuration": "data"}
"""What a layer of ours is, by the first word of its name."""


def bill_of_materials(layout: Layout) -> dict[str, Any]:
    """CycloneDX's JSON for an image.

    Raises:
        RunError: its runtime does not say where it came from.
    """
    origins = _origins(layout)
    config = json.loads(layout.blob(layout.config).read_text("utf-8"))
    files = _files_by_component(origins["files"])
    libraries = [_library(name, found, config["architecture"], files[name]) for name, found in sorted(origins["components"].items())]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _image(layout)},
        "components": [*libraries, *_own(layout.layers)],
    }


def _origins(layout: Layout) -> dict[str, Any]:
    """Read from the last runtime layer that has it: each of them is a plain tar."""
    for layer in reversed(layout.layers):
        if layer.name.partition(" ")[0] in OWN_LAYERS:
            continue
        with tarfile.open(layout.blob(layer.digest)) as archive:
            for member in archive:
                if member.name.removeprefix("./") == ORIGINS:
                    return _checked(json.load(archive.extractfile(member)), layout.tag)
    raise RunError(f"The runtime in {layout.tag} does not say where its files came from.", "`edge package` the build again.")


def _checked(origins: dict[str, Any], tag: str) -> dict[str, Any]:
    if origins["format"] > FORMAT:
        raise RunError(
            f"The runtime in {tag} tells its origins in format {origins['format']}, newer than {FORMAT}.", "Use a newer toolkit."
        )
    return origins


def _files_by_component(files: Mapping[str, Mapping[str, str]]) -> dict[str, list[tuple[str, Mapping[str, str]]]]:
    found: dict[str, list[tuple[str, Mapping[str, str]]]] = {}
    for place, told in sorted(files.items()):
        found.setdefault(told["from"], []).append((place, told))
    return found


def _image(layout: Layout) -> dict[str, Any]:
    return {"type": "container", "bom-ref": layout.manifest, "name": layout.tag, "version": layout.manifest}


def _library(ref: str, found: Mapping[str, str], architecture: str, files: Iterable[tuple[str, Mapping[str, str]]]) -> dict[str, Any]:
    told: dict[str, Any] = {"type": "library", "bom-ref": ref, "name": found["name"]}
    if version := found.get("version"):
        told |= {"version": version, "purl": _purl(found, architecture)}
    if digest := found.get("sha256"):
        told["hashes"] = [_sha256(digest)]
    return told | {"components": [_file(ref, place, file) for place, file in files]}


def _purl(found: Mapping[str, str], architecture: str) -> str:
    """The name by which databases of advisories know it."""
    version = quote(found["version"], safe="")
    if found["kind"] == "wheel":
        return f"pkg:pypi/{found['name']}@{version}"
    system, _, release = found["system"].partition("-")
    asked = f"arch={architecture}&distro={system}-{release}&upstream={quote(found['source'], safe='')}"
    return f"pkg:deb/{system}/{quote(found['name'], safe='')}@{version}?{asked}"


def _file(ref: str, place: str, told: Mapping[str, str]) -> dict[str, Any]:
    described = {"type": "file", "bom-ref": f"{ref}#{place}", "name": place, "hashes": [_sha256(told["sha256"])]}
    return described | ({"description": told["change"]} if "change" in told else {})


def _own(layers: Iterable[StoredLayer]) -> list[dict[str, Any]]:
    """The layers that packaging put on top, by their digests."""
    kinds = ((layer, OWN_LAYERS.get(layer.name.partition(" ")[0])) for layer in layers)
    return [
        {"type": kind, "bom-ref": layer.name, "name": layer.name, "hashes": [_sha256(layer.digest.removeprefix("sha256:"))]}
        for layer, kind in kinds
        if kind
    ]


def _sha256(content: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": content}
