"""The files by which a device runs an image: valid by the schemas of who reads them, hardened, and with no key in them."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import check_jsonschema
import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.fakes import FakeEngine, FakeImages
from tests.tiny import ROOT
from toolkit.core import events as ev
from toolkit.core.engine import LABEL, Image
from toolkit.core.manifest import FORMS, KEY, Service, compose, kubernetes, quadlet, service_of
from toolkit.core.run import new_run
from toolkit.core.workbench import Workbench
from toolkit.settings import Settings

DIGEST = "sha256:" + "a1" * 32
PLAIN = Service("travel-cpu", "edge-toolkit/travel-cpu:0001", False, 2048, 2.0)
KEYED = dataclasses.replace(PLAIN, has_key=True)
GPU = Service("travel-gpu-cuda13", f"registry.example/travel@{DIGEST}", True, 8192, 4.0, port=9000, has_key=True)
BARE = Service("model", "x:1", False, 0, 0)
EXAMPLES = {"compose": "compose.yaml", "quadlet": "edge.container", "k8s": "kubernetes.yaml"}
QUADLET_KEYS = {
    "Unit": {"Description"},
    "Container": {
        "AddDevice", "ContainerName", "DropCapability", "Environment", "Group", "HealthCmd", "HealthInterval", "HealthRetries",
        "HealthStartPeriod", "HealthTimeout", "Image", "NoNewPrivileges", "PidsLimit", "PodmanArgs", "PublishPort", "ReadOnly",
        "ReadOnlyTmpfs", "Secret", "User",
    },
    "Service": {"Restart", "TimeoutStartSec", "TimeoutStopSec"},
    "Install": {"WantedBy"},
}  # fmt: skip
"""What podman-systemd.unit(5) of podman 4.5 knows, as far as it is used here."""


def paper_bench(home: Path) -> Workbench:
    return Workbench(Settings(home=home), FakeEngine, lambda _: FakeEngine(), FakeImages, FakeImages, lambda *_: None)


def image_of(labels: dict[str, str]) -> Image:
    return Image("sha256:" + "b2" * 32, ("x:1",), 1, "", {f"{LABEL}.{key}": value for key, value in labels.items()})


def units(text: str) -> dict[str, dict[str, list[str]]]:
    """Sections and keys of a unit file, read strictly."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        if header := re.fullmatch(r"\[(\w+)\]", line):
            section = found[header[1]] = {}
            continue
        key, equals, value = line.partition("=")
        assert equals and key.isalnum() and value, line
        section.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("service", [PLAIN, KEYED, GPU, BARE], ids=lambda service: service.name + ("-key" if service.has_key else ""))
def test_the_compose_file_is_valid_by_the_specification_and_hardened(service: Service) -> None:
    schema = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"
    found = yaml.safe_load(compose(service))
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(found)
    model = found["services"]["model"]
    assert (model["read_only"], model["cap_drop"], model["user"]) == (True, ["ALL"], "65532:65532")
    assert model["security_opt"] == ["no-new-privileges:true"] and model["pids_limit"] == 128
    assert model["ports"] == [f"127.0.0.1:{service.port}:8080"] and model["image"] == service.image
    assert model.get("mem_limit") == model.get("memswap_limit") == (f"{service.memory_mb}m" if service.memory_mb else None)
    assert ("deploy" in model) == service.is_gpu and (KEY in found.get("secrets", {})) == service.has_key


@pytest.mark.parametrize("service", [PLAIN, KEYED, GPU, BARE], ids=lambda service: service.name + ("-key" if service.has_key else ""))
def test_the_kubernetes_objects_are_valid_and_hardened(service: Service) -> None:
    deployment, reached = yaml.safe_load_all(kubernetes(service))
    for found in (deployment, reached):
        kubernetes_validate.validate(found, "1.31", strict=True)
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready" and container["livenessProbe"]["httpGet"]["path"] == "/health"
    limits = container.get("resources", {}).get("limits", {})
    assert limits.get("nvidia.com/gpu") == (1 if service.is_gpu else None)
    assert limits.get("memory") == (f"{service.memory_mb}Mi" if service.memory_mb else None)
    assert reached["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]


@pytest.mark.parametrize("service", [PLAIN, KEYED, GPU, BARE], ids=lambda service: service.name + ("-key" if service.has_key else ""))
def test_the_quadlet_unit_has_only_keys_that_podman_knows_and_is_hardened(service: Service) -> None:
    found = units(quadlet(service))
    assert {section: set(keys) - QUADLET_KEYS[section] for section, keys in found.items() if set(keys) - QUADLET_KEYS[section]} == {}
    container = found["Container"]
    assert container["ReadOnly"] == ["true"] and container["DropCapability"] == ["all"] and container["NoNewPrivileges"] == ["true"]
    assert container["Image"] == [service.image] and container["PublishPort"] == [f"127.0.0.1:{service.port}:8080"]
    assert json.loads(container["HealthCmd"][0])[0] == "/usr/bin/python3"
    assert ("AddDevice" in container) == service.is_gpu and ("Secret" in container) == service.has_key
    assert ("--memory=2048m" in container["PodmanArgs"][0]) == (service.memory_mb == 2048)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_says_how_it_was_made_and_that_a_tag_is_no_digest(form: str) -> None:
    assert f"# Made by `edge manifest IMAGE --as {form} --api-key`." in FORMS[form](KEYED)
    assert "named by its tag" in FORMS[form](KEYED) and "named by its tag" not in FORMS[form](GPU)


@pytest.mark.parametrize("form", FORMS)
def test_the_examples_are_what_the_command_prints(form: str) -> None:
    assert (ROOT / "deploy" / "device" / EXAMPLES[form]).read_text() == FORMS[form](KEYED)


def test_the_limits_are_those_of_the_images_device(tmp_path: Path) -> None:
    bench = paper_bench(tmp_path)
    image = image_of({"recipe": "My Travel", "device": "cpu", "flavour": "cpu", "memory_mb": "400"})
    service = service_of(bench, "edge-toolkit/travel-cpu:0001", image)
    assert (service.name, service.image, service.is_gpu) == ("my-travel-cpu", "edge-toolkit/travel-cpu:0001", False)
    assert (service.memory_mb, service.cpus) == (2048, 2)
    unknown = service_of(bench, "x:1", image_of({"device": "gone", "flavour": "cuda12", "memory_mb": "400"}))
    assert (unknown.is_gpu, unknown.memory_mb, unknown.cpus) == (True, 400, 0)


def test_an_image_that_was_pushed_is_named_by_its_digest(tmp_path: Path) -> None:
    bench, image = paper_bench(tmp_path), image_of({"recipe": "travel", "device": "cpu"})
    steps = [{"name": "push", "kind": "push", "options": {"image_id": image.id}, "inputs": {}}]
    run = new_run(bench.settings.runs, "publish", "travel", lambda _: {"engine": "docker", "recipe": {"name": "travel"}, "steps": steps})
    assert service_of(bench, "x:1", image).image == "x:1"
    run.append(ev.RunRequested(at=1, run=run.id, kind="publish", steps=("push",)))
    run.append(ev.ArtifactWritten(at=2, step="push", kind="release", path=f"registry.example/travel@{DIGEST}", bytes=1, sha256="a1" * 32))
    assert service_of(bench, "x:1", image).image == f"registry.example/travel@{DIGEST}"
