"""Tag, push, and look in the registry whether it holds what was sent. Publishing twice is safe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.core import reference, registry
from toolkit.core.engine import LABEL, Credentials, Image, PushProgress
from toolkit.errors import PublishError

if TYPE_CHECKING:
    from toolkit.core.hoststeps import Job

SETTLED = ("Pushed", "Layer already exists", "Mounted from")


def request(image: Image, source: str, target: reference.Reference, username: str) -> dict:
    """What a publishing run is asked. The user name is kept, the password never is."""
    options = {"image": source, "image_id": image.id, "target": str(target), "username": username}
    steps = [{"name": kind, "kind": kind, "options": options, "inputs": {}} for kind in ("push", "verify")]
    return {"engine": "docker", "recipe": {"name": image.labels.get(f"{LABEL}.recipe", "image")}, "steps": steps}


def credentials(job: Job) -> Credentials | None:
    """The user name of the request with the password that came through the pipe."""
    username, password = job.secrets.get("username") or job.options["username"], job.secrets.get("password", "")
    return Credentials(username, password) if username and password else None


def push(job: Job) -> dict[str, float]:
    """Push the image; only layers that the registry lacks move."""
    engine = job.bench.image_engine()
    found = engine.find(job.options["image_id"])
    if found is None:
        raise PublishError(f"The image {job.options['image']} is not in the engine any more.", "Package the run again, then push.")
    target = reference.parse(job.options["target"])
    engine.tag(job.options["image_id"], str(target))
    layers: dict[str, PushProgress] = {}
    sizes: dict[str, int] = {}
    done: dict[str, int] = {}
    digest = ""
    for step in engine.push(str(target), credentials(job)):
        if isinstance(step, str):
            digest = step
            continue
        layers[step.layer] = step
        if step.total:
            sizes[step.layer], done[step.layer] = step.total, step.done
        if step.status.startswith(SETTLED):
            done[step.layer] = sizes.get(step.layer, 0)
        settled = sum(layer.status.startswith(SETTLED) for layer in layers.values())
        job.progress(sum(done.values()), sum(sizes.values()) or None, "bytes", f"{settled} of {len(layers)} layers there; {_line(step)}")
    job.run.folder.joinpath("pushed.txt").write_text(digest + "\n")
    there = sum(layer.status.startswith(("Layer already exists", "Mounted from")) for layer in layers.values())
    return {
        "layers": len(layers),
        "layers_already_there": there,
        "layers_pushed": len(layers) - there,
        "bytes_read": float(sum(sizes.values())),
    }


def _line(step: PushProgress) -> str:
    share = f" {step.done / step.total:.0%}" if step.total else ""
    return f"{step.layer} {step.status}{share}"


def verify(job: Job) -> dict[str, float]:
    """Read the digest back from the registry and compare it with the one the engine pushed."""
    target = reference.parse(job.options["target"])
    pushed = job.run.folder.joinpath("pushed.txt").read_text().strip()
    there = registry.stored(target, credentials(job))
    if there is None:
        raise PublishError(f"The registry does not hold {target} after the push.", "Push again.")
    if there.digest != pushed:
        raise PublishError(
            f"The registry holds {there.digest} under {target}; {pushed} was pushed.",
            "Somebody pushed there meanwhile; push again under another tag.",
        )
    job.left("release", f"{target.host}/{target.repository}@{there.digest}", there.bytes, there.digest.removeprefix("sha256:"))
    return {"bytes": there.bytes, "layers": len(there.layers)}
