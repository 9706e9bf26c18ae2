"""A packaged image as a device runs it: the same limits and hardening as here, for Compose, Quadlet (podman under systemd) or Kubernetes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from toolkit.core import device
from toolkit.core.engine import LABEL, Image
from toolkit.core.results import release_of
from toolkit.core.workbench import Workbench
from toolkit.errors import RunError

SERVER_PORT = 8080
"""Inside the container."""
USER = 65532
PIDS = 128
STOP_SECONDS = 20
"""Longer than the server lets its last answers go on after it was told to stop."""
HEALTH = ("/usr/bin/python3", "-S", "/opt/edge/server/health.py")
"""Ends with 0 once the weights are loaded and warm."""
START_SECONDS = 120
KEY = "edge-api-key"
"""Name of the secret that holds the API key."""


@dataclass(frozen=True)
class Service:
    """What is to be run, and within which limits."""

    name: str
    """Fit for DNS and for a unit's name."""
    image: str
    """With its digest where it was pushed, else by its name in this engine."""
    is_gpu: bool
    memory_mb: int
    cpus: float
    port: int = SERVER_PORT
    """On the device."""
    has_key: bool = False
    """Clients must bring the key of a secret."""

    @property
    def is_pinned(self) -> bool:
        return "@sha256:" in self.image


def service_of(bench: Workbench, named: str, image: Image, port: int = SERVER_PORT, has_key: bool = False) -> Service:
    """The service that a packaged image stands for, with the limits of its device."""
    made_for = image.labels.get(f"{LABEL}.device", "")
    known = device.catalogue(bench.settings.devices).get(made_for)
    accelerator = image.labels.get(f"{LABEL}.flavour", "") or (known.accelerator if known else "cpu")
    needed = int(image.labels.get(f"{LABEL}.memory_mb") or 0)
    return Service(
        name=_name(f"{image.labels.get(f'{LABEL}.recipe', 'model')}-{made_for}"),
        image=pushed_as(bench, image.id) or named,
        is_gpu=accelerator.startswith("cuda"),
        memory_mb=known.memory_mb if known else needed,
        cpus=known.cpus if known else 0,
        port=port,
        has_key=has_key,
    )


def pushed_as(bench: Workbench, image_id: str) -> str:
    """HOST/REPOSITORY@DIGEST of the newest push of this very image; empty: it was not pushed from here."""
    for run in reversed(list(bench.runs())):
        with suppress(RunError, OSError, KeyError):
            is_of_it = run.kind == "publish" and run.request["steps"][0]["options"].get("image_id") == image_id
            if is_of_it and (release := release_of(run.state())):
                return release
    return ""


def _name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:50].rstrip("-") or "model"


def compose(service: Service) -> str:
    """A file for `docker compose`."""
    name = service.name
    head = [
        "Put it beside the key file, if there is one, then: docker compose up -d",
        f"Is it ready? curl http://127.0.0.1:{service.port}/ready",
        *_key_words(service, f"printf %s YOUR-KEY > {KEY} && sudo chown {USER} {KEY} && sudo chmod 400 {KEY}"),
    ]
    lines = [
        *_comments(service, "compose", head),
        f"name: {name}",
        "services:",
        "  model:",
        f"    image: {_quoted(service.image)}",
        "    restart: unless-stopped",
        f'    ports: ["127.0.0.1:{service.port}:{SERVER_PORT}"]',
        f'    user: "{USER}:{USER}"',
        "    read_only: true",
        "    cap_drop: [ALL]",
        '    security_opt: ["no-new-privileges:true"]',
        f"    pids_limit: {PIDS}",
        *_given(service.memory_mb, f"    mem_limit: {service.memory_mb}m", f"    memswap_limit: {service.memory_mb}m"),
        *_given(service.cpus, f"    cpus: {service.cpus:g}"),
        f"    stop_grace_period: {STOP_SECONDS}s",
        *_given(service.has_key, f"    environment: {{EDGE_API_KEY_FILE: /run/secrets/{KEY}}}", f"    secrets: [{KEY}]"),
        "    healthcheck:",
        f"      test: {json.dumps(['CMD', *HEALTH])}",
        "      interval: 30s",
        "      timeout: 10s",
        f"      start_period: {START_SECONDS}s",
        "      retries: 3",
        "    logging: {driver: local}",
        *_given(
            service.is_gpu,
            "    deploy:",
            "      resources:",
            "        reservations:",
            "          devices: [{driver: nvidia, count: 1, capabilities: [gpu]}]",
        ),
        *_given(service.has_key, "secrets:", f"  {KEY}: {{file: ./{KEY}}}"),
    ]
    return _joined(lines)


def quadlet(service: Service) -> str:
    """A `.container` unit for podman's systemd generator, from podman 4.5 on."""
    head = [
        f"As root: save it as /etc/containers/systemd/{service.name}.container; as a user: ~/.config/containers/systemd/{service.name}.container",
        f"Then: systemctl daemon-reload && systemctl start {service.name}   (a user adds --user, and `loginctl enable-linger` once)",
        *_key_words(service, f"printf %s YOUR-KEY | podman secret create {KEY} -"),
    ]
    limits = [
        *_given(service.memory_mb, f"--memory={service.memory_mb}m", f"--memory-swap={service.memory_mb}m"),
        *_given(service.cpus, f"--cpus={service.cpus:g}"),
        f"--stop-timeout={STOP_SECONDS}",
    ]
    lines = [
        *_comments(service, "quadlet", head),
        "[Unit]",
        f"Description={service.name}: a language model on ONNX Runtime GenAI",
        "",
        "[Container]",
        f"ContainerName={service.name}",
        f"Image={service.image}",
        f"PublishPort=127.0.0.1:{service.port}:{SERVER_PORT}",
        f"User={USER}",
        f"Group={USER}",
        "ReadOnly=true",
        "ReadOnlyTmpfs=false",
        "DropCapability=all",
        "NoNewPrivileges=true",
        f"PidsLimit={PIDS}",
        f"PodmanArgs={' '.join(limits)}",
        f"HealthCmd={json.dumps(list(HEALTH))}",
        "HealthInterval=30s",
        "HealthTimeout=10s",
        f"HealthStartPeriod={START_SECONDS}s",
        "HealthRetries=3",
        *_given(service.is_gpu, "AddDevice=nvidia.com/gpu=all"),
        *_given(
            service.has_key,
            f"Secret={KEY},type=mount,uid={USER},gid={USER},mode=0400",
            f"Environment=EDGE_API_KEY_FILE=/run/secrets/{KEY}",
        ),
        "",
        "[Service]",
        "Restart=always",
        "TimeoutStartSec=900",
        f"TimeoutStopSec={STOP_SECONDS + 10}",
        "",
        "[Install]",
        "WantedBy=multi-user.target default.target",
    ]
    return _joined(lines)


def kubernetes(service: Service) -> str:
    """A Deployment and a Service that is reached inside the cluster."""
    name = service.name
    head = [
        f"kubectl apply -f FILE; kubectl wait --for=condition=available deployment/{name}",
        *_key_words(service, f"kubectl create secret generic {KEY} --from-literal=key=YOUR-KEY"),
    ]
    limits = [
        *_given(service.memory_mb, f"              memory: {service.memory_mb}Mi"),
        *_given(service.cpus, f'              cpu: "{service.cpus:g}"'),
    ]
    lines = [
        *_comments(service, "k8s", head),
        "apiVersion: apps/v1",
        "kind: Deployment",
        f"metadata: {{name: {name}, labels: {{app: {name}}}}}",
        "spec:",
        "  replicas: 1",
        f"  selector: {{matchLabels: {{app: {name}}}}}",
        *_given(service.is_gpu, "  strategy: {type: Recreate}  # the old one must let go of the GPU first"),
        "  template:",
        f"    metadata: {{labels: {{app: {name}}}}}",
        "    spec:",
        "      automountServiceAccountToken: false",
        f"      terminationGracePeriodSeconds: {STOP_SECONDS}",
        "      securityContext:",
        "        runAsNonRoot: true",
        f"        runAsUser: {USER}",
        f"        runAsGroup: {USER}",
        f"        fsGroup: {USER}",
        "        seccompProfile: {type: RuntimeDefault}",
        "      containers:",
        "        - name: model",
        f"          image: {_quoted(service.image)}",
        f"          ports: [{{name: http, containerPort: {SERVER_PORT}}}]",
        "          securityContext:",
        "            readOnlyRootFilesystem: true",
        "            allowPrivilegeEscalation: false",
        "            capabilities: {drop: [ALL]}",
        *_probe("startupProbe", "/ready", 5, 120),
        *_probe("readinessProbe", "/ready", 10, 3),
        *_probe("livenessProbe", "/health", 30, 3),
        *_given(limits or service.is_gpu, "          resources:"),
        *_given(limits, "            requests:", *limits),
        *_given(
            limits or service.is_gpu,
            "            limits:",
            *limits,
            *_given(service.is_gpu, "              nvidia.com/gpu: 1"),
        ),
        *_given(
            service.has_key,
            f"          env: [{{name: EDGE_API_KEY_FILE, value: /run/secrets/{KEY}/key}}]",
            f"          volumeMounts: [{{name: key, mountPath: /run/secrets/{KEY}, readOnly: true}}]",
            "      volumes:",
            f"        - {{name: key, secret: {{secretName: {KEY}, defaultMode: 0440}}}}",
        ),
        "---",
        "apiVersion: v1",
        "kind: Service",
        f"metadata: {{name: {name}}}",
        "spec:",
        f"  selector: {{app: {name}}}",
        f"  ports: [{{name: http, port: {service.port}, targetPort: http}}]",
    ]
    return _joined(lines)


FORMS: dict[str, Callable[[Service], str]] = {"compose": compose, "quadlet": quadlet, "k8s": kubernetes}


def _probe(kind: str, path: str, period: int, failures: int) -> list[str]:
    return [
        f"          {kind}:",
        f"            httpGet: {{path: {path}, port: http}}",
        f"            periodSeconds: {period}",
        f"            failureThreshold: {failures}",
        "            timeoutSeconds: 5",
    ]


def _comments(service: Service, form: str, words: Iterable[str]) -> list[str]:
    """What stands above the file: how it was made, and what to do with it."""
    loose = (
        []
        if service.is_pinned
        else ["Not pushed from here: the image is named by its tag. Load its file on the device first (`edge export`)."]
    )
    key = " --api-key" if service.has_key else ""
    return [f"# {line}" for line in (f"Made by `edge manifest IMAGE --as {form}{key}`.", *words, *loose)]


def _key_words(service: Service, command: str) -> list[str]:
    return [f"The key, once: {command}"] if service.has_key else []


def _given(is_wanted: object, *lines: str) -> list[str]:
    return list(lines) if is_wanted else []


def _quoted(text: str) -> str:
    return json.dumps(text)


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
