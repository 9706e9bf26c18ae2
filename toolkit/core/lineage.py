"""What a published model came from, and the links between a version of a model and the images that carry it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.core import oci_layout, publishing, reference
from toolkit.core.model_registry import ModelCard, RegisteredModel
from toolkit.core.provenance import RECIPE_TEXT, facts_of_build, named, recipe_text, speeds_of_build
from toolkit.core.referrers import attach, attached
from toolkit.core.registry_session import Session
from toolkit.core.run import Run
from toolkit.core.workbench import Workbench
from toolkit.errors import RunError

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job

HOUSE = "edge"
"""What our properties and tags in a store of models begin with."""
LINEAGE_TYPE = "application/vnd.edge-toolkit.lineage.v1+json"
MODEL_ANNOTATION, STORE_ANNOTATION = "edge-toolkit.model", "edge-toolkit.store"
REGISTERED_FILE = "registered.json"
PUSHED_FILE = "pushed.txt"
MOST_PROPERTIES, MOST_CHARACTERS = 45, 1000
"""Azure ML takes 50 properties of 1,000 characters; some are left to others."""


def facts_of(bench: Workbench, options: Mapping) -> dict[str, str]:
    """Properties of the model that a publishing run registers: `edge.*`, within what the store takes."""
    package = _package(bench, options)
    facts = {"content.sha256": options.get("content_sha256", ""), **_image_facts(options)}
    text = ""
    if package:
        facts["run.package"] = package.id
        asked = package.request["steps"][0]["options"]
        build, recipe = Path(asked["build_folder"]), package.request["recipe"]
        facts |= {**facts_of_build(build, recipe, asked["device"]), **speeds_of_build(build, asked["device"])}
        text = recipe_text(recipe)
    return within_limits(named({name: value for name, value in facts.items() if value}, HOUSE), text)


def _package(bench: Workbench, options: Mapping) -> Run | None:
    with suppress(RunError):
        return bench.run(options["package"]) if options.get("package") else None
    return None


def _image_facts(options: Mapping) -> dict[str, str]:
    """The image, where it is pushed from its layout: then its digest is known before."""
    if not options.get("target"):
        return {}
    facts = {"image.config": options["image_id"]}
    with suppress(RunError):
        if options.get("layout"):
            target = reference.parse(options["target"])
            facts["image"] = f"{target.host}/{target.repository}@{oci_layout.read(Path(options['layout'])).manifest}"
    return facts


def within_limits(properties: Mapping[str, str], text: str) -> dict[str, str]:
    """As many properties as the store takes, the first ones; the recipe's text goes in parts into the room that is left."""
    kept = {name[:100]: value[:MOST_CHARACTERS] for name, value in list(properties.items())[:MOST_PROPERTIES]}
    parts = [text[start : start + MOST_CHARACTERS] for start in range(0, len(text), MOST_CHARACTERS)]
    if len(kept) + len(parts) > MOST_PROPERTIES:
        return kept  # its hash is there; half a recipe helps nobody
    names = [f"{HOUSE}.{RECIPE_TEXT}{f'.{number}' if number > 1 else ''}" for number in range(1, len(parts) + 1)]
    return kept | dict(zip(names, parts, strict=True))


def image_tag(device: str) -> str:
    """The tag of a version that lists the images of a device."""
    return f"{HOUSE}.image.{device}"


def with_image(tags: Mapping[str, str], name: str, digest: str) -> dict[str, str]:
    """The tags with this image first in that of its device; the oldest go where there is no room."""
    listed = " ".join([digest, *(other for other in tags.get(name, "").split() if other != digest)])
    return {**tags, name: listed[: MOST_CHARACTERS + 1].rpartition(" ")[0] if len(listed) > MOST_CHARACTERS else listed}


def link(job: Job) -> dict[str, float]:
    """Let image and version of the model lead to each other: an artifact beside the image, a tag on the version."""
    model = RegisteredModel(**json.loads((job.run.folder / REGISTERED_FILE).read_text("utf-8")))
    digest = (job.run.folder / PUSHED_FILE).read_text("utf-8").strip()
    return {"attached_bytes": float(_attach(job, model, digest)), "tagged": float(_tag_version(job, model, digest))}


def _attach(job: Job, model: RegisteredModel, digest: str) -> int:
    """Lay what is known of the model beside the image; how many bytes that took, none where it lies there already."""
    content = lineage_document(model, job.options, digest)
    about = {MODEL_ANNOTATION: model.id, STORE_ANNOTATION: job.options["store"]}
    session = Session(reference.parse(job.options["target"]), publishing.credentials(job))
    try:
        there = attached(session, digest, LINEAGE_TYPE)
        if any(referrer.annotations == about for referrer in there):
            return 0
        left = attach(session, digest, LINEAGE_TYPE, content, about)
    finally:
        session.close()
    job.left("link", left.digest, left.size, left.digest.removeprefix("sha256:"))
    return len(content)


def lineage_document(model: RegisteredModel, options: Mapping, digest: str) -> bytes:
    """What lies beside the image; the same for the same publishing on any day."""
    told = {"id": model.id, "name": model.name, "version": model.version, "store": options["store"], "path": model.path}
    whole = {"schemaVersion": 1, "image": digest, "model": told, "properties": dict(model.properties)}
    return json.dumps(whole, sort_keys=True).encode()


def _tag_version(job: Job, model: RegisteredModel, digest: str) -> bool:
    """Name the image on the version; False where it was named there already."""
    name = image_tag(model.properties.get(f"{HOUSE}.device", "") or "other")
    if digest in model.tags.get(name, "").split():
        return False
    store = job.bench.cloud().model_registry(job.options["store"])
    there = store.find(model.name, model.version) or model
    card = ModelCard(there.name, there.version, there.type, there.description, with_image(there.tags, name, digest), there.properties)
    store.register(Path(job.options["content"]), job.options["content_sha256"], card, lambda _: None)
    return True
