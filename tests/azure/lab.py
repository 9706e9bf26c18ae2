"""Azure on loopback, for the real clients, unpatched. Ask for the fixture `lab` (nobody in particular) or `signed_in` (a service principal).

What is in it, by host name as the clients know it:
    lab.cloud      management.azure.com, login.microsoftonline.com and *.api.azureml.ms: ARM, Entra, Azure ML
    lab.registry   labacr.azurecr.io: Entra token -> /oauth2/exchange -> /oauth2/token -> Debian's docker-registry
    lab.plain_registry   the same registry as a plain door on 127.0.0.1, for a Docker engine, which knows no lab
    lab.blobs      labstore.blob.core.windows.net, before Azurite; `lab.container` looks into it past the front
    lab.machine    what MSI_ENDPOINT names on a compute instance: `monkeypatch.setenv` all of `lab.msi_environ`

Each but the container is a Front: `.calls` (method, path, query, headers, status, body_bytes, sent), `.requests` (method, path),
`.asked("PUT", "/blobs/")`, `.bytes_in`, `.bytes_out`, `.forget_calls()`, and faults:
    lab.registry.fault(Fault("PATCH", cut_after=1 << 20))                     cut on both sides after 1 MiB of the body
    lab.blobs.fault(Fault("PUT", r"comp=block&", 503, {"Retry-After": "1"}, times=2, skip=3))
    paused = lab.blobs.fault(Fault("PUT", pause_after=0)); paused.reached.wait(30); ...; paused.go.set()
`lab.proxy.up/down[host]` and `lab.proxy.moved` count bytes on the wire, heads and TLS and all.

Every request that no one here has an answer for, and every other host, fails the test. The fixture resets all of it between tests.
"""

from __future__ import annotations

import base64
import os
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from azure.storage.blob import ContainerClient

from tests.azure.acr import AzureRegistry
from tests.azure.arm import REGISTRY_HOST
from tests.azure.assets import REGISTRY
from tests.azure.blobs import Blobs
from tests.azure.certs import Certificates, make_certificates
from tests.azure.cloud import CLIENT, ENTRA, MANAGEMENT, SECRET, TENANT, WORKSPACE, Cloud
from tests.azure.machine import MSI_SECRET, Machine, write_az
from tests.azure.proxy import Proxy
from tests.azure.registry_service import RegistryService
from tests.services.fixtures import free_port

ACCOUNT, CONTAINER = "labstore", "azureml-blobstore-lab"
STORAGE = f"{ACCOUNT}.blob.core.windows.net"
REGION_HOSTS = "*.api.azureml.ms"
DOORS = (r"[?&]sig=[\w%/+]{20}", r"_state=[\w-]{20}")
"""Signatures of a storage's addresses, and the state in those of a registry's uploads."""
SERVICE_PRINCIPAL = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": SECRET}


@dataclass(frozen=True)
class Lab:
    cloud: Cloud
    registry: AzureRegistry
    plain_registry: AzureRegistry
    blobs: Blobs
    machine: Machine
    proxy: Proxy
    container: ContainerClient
    certificates: Certificates
    _blob_address: str
    _ours: dict[str, object]
    """How to reach Azurite past the front."""

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs to be in the lab, and nobody in particular."""
        ways = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), self.proxy.address)
        trust = dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), str(self.certificates.authority))
        return {**ways, **trust, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}

    @property
    def msi_environ(self) -> dict[str, str]:
        """What a compute instance has in its environment beside that."""
        return self.machine.environ

    def machine_identity(self, answer: int | str = "token", who: str | None = None) -> None:
        """What the machine's endpoint says from now on: a status, or `token`, of `who` where it is not the machine itself."""
        self.machine.says = answer
        self.machine.who = who or self.machine.who

    def az(self, folder: Path, fails: str = "") -> Path:
        """A program `az` in `folder`/bin that gives Ada's tokens as long as they live now, or fails with a text."""
        (folder / "bin").mkdir(exist_ok=True)
        return write_az(folder / "bin", self.cloud.people, fails)

    def register(self, name: str, files: dict[str, bytes], store: str = "by_sas", prefix: str = "", version: str = "1") -> str:
        """A version of a model of these files; its address."""
        prefix = prefix or f"LocalUpload/{name}/upload"
        for path, content in files.items():
            self.container.upload_blob(f"{prefix}/{path}", content, overwrite=True)
        self.cloud.models.put(name, version, {"modelUri": path_in(store, prefix)})
        return address(name, version)

    def register_asset(self, name: str, files: dict[str, bytes], version: str = "1") -> str:
        """A version of a model in the registry `labmodels`; its address."""
        container = self._make_container(f"assets-{secrets.token_hex(8)}")
        for path, content in files.items():
            container.upload_blob(f"{name}/{path}", content)
        self.cloud.assets.models.put(name, version, {"modelUri": f"https://{STORAGE}/{container.container_name}/{name}"})
        return f"azureml://registries/{REGISTRY}/models/{name}/versions/{version}"

    def container_of(self, address: str) -> ContainerClient:
        """The container that an address of the storage leads into, past the front."""
        name = address.split("/")[3]
        return ContainerClient(self._blob_address, name, credential=self.cloud.resources.key, **self._ours)

    def _make_container(self, name: str) -> ContainerClient:
        made = ContainerClient(self._blob_address, name, credential=self.cloud.resources.key, **self._ours)
        made.create_container()
        return made

    def leaks(self, folder: Path, *texts: str) -> list[str]:
        """Where a secret of the lab stands that must not: in files of `folder`, but for those that only their owner may read, or in texts.

        Looked for are the accounts' keys and passwords, the last part of each token, and what opens a door by itself in a URL.
        """
        words = {secret.rpartition(".")[2] for secret in self.cloud.people.given} | {self.cloud.resources.key, SECRET, MSI_SECRET}
        secret = re.compile("|".join([*map(re.escape, words), *DOORS]).encode())
        files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        ours = [path for path in files if path.stat().st_mode & 0o077 and path.stat().st_size < 4 << 20]
        found = [str(path) for path in ours if secret.search(path.read_bytes())]
        return found + [text for text in texts if secret.search(text.encode())]

    def reset(self) -> None:
        for part in (self.cloud, self.registry, self.plain_registry, self.blobs, self.machine, self.proxy):
            part.reset()
        self.cloud.unknown.clear()
        for name in list(self.container.list_blob_names()):
            self.container.delete_blob(name)


def address(name: str, version: str = "1") -> str:
    return f"azureml:/{WORKSPACE}/models/{name}/versions/{version}"


def path_in(store: str, prefix: str) -> str:
    """Address of bytes in a datastore of the workspace."""
    return f"azureml:/{WORKSPACE.replace('/providers/Microsoft.MachineLearningServices', '')}/datastores/{store}/paths/{prefix}"


@contextmanager
def azure_lab(folder: Path) -> Iterator[Lab]:
    certificates = make_certificates(folder, [MANAGEMENT, ENTRA, REGISTRY_HOST, STORAGE, REGION_HOSTS])
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    port = free_port()
    azurite = _azurite(folder, port, key, certificates)
    service = RegistryService(folder / "registry")
    cloud = Cloud(certificates, ACCOUNT, key, CONTAINER)
    fronts = (AzureRegistry(cloud, certificates, service), AzureRegistry(cloud, None, service), Blobs(cloud, certificates, port))
    machine = Machine(cloud.people, cloud.unknown)
    ports = dict.fromkeys((MANAGEMENT, ENTRA, REGION_HOSTS), cloud.server_port)
    proxy = Proxy({**ports, REGISTRY_HOST: fronts[0].server_port, STORAGE: fronts[2].server_port})
    ours = {"connection_verify": str(certificates.authority), "use_env_settings": False}
    try:
        service.wait()
        _wait(azurite, port, folder)
        address = f"https://127.0.0.1:{port}/{ACCOUNT}"
        with ContainerClient(address, CONTAINER, credential=key, **ours) as container:
            container.create_container()
            lab = Lab(cloud, *fronts, machine, proxy, container, certificates, address, ours)
            cloud.assets.make_container = lab._make_container
            yield lab
    finally:
        service.kill()
        azurite.kill()
        azurite.wait()
        for server in (proxy, cloud, machine, *fronts):
            server.shutdown()
            server.server_close()


def _azurite(folder: Path, port: int, key: str, certificates: Certificates) -> subprocess.Popen:
    tls = ["--cert", certificates.certificate, "--key", certificates.key, "--oauth", "basic"]
    # The newest clients name an API version that Azurite does not know yet, and use nothing of it here.
    calm = ["--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    argv = ["azurite-blob", "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", folder / "blobs", *tls, *calm]
    with open(folder / "azurite.log", "wb") as log:
        return subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{key}"})


def _wait(azurite: subprocess.Popen, port: int, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and azurite.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"Azurite did not start: {(folder / 'azurite.log').read_text()[-2000:]}")
