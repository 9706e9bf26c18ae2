"""Azure on loopback: the stand-in cloud, Azurite for the bytes, and the proxy by which the real clients find both."""

from __future__ import annotations

import base64
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from azure.storage.blob import ContainerClient

from tests.azure.certs import Certificates, make_certificates
from tests.azure.cloud import CLIENT, ENTRA, MANAGEMENT, REGISTRIES, SECRET, TENANT, WORKSPACE, Cloud
from tests.azure.proxy import Proxy
from tests.services.fixtures import free_port

ACCOUNT, CONTAINER = "labstore", "azureml-blobstore-lab"
STORAGE = f"{ACCOUNT}.blob.core.windows.net"
SERVICE_PRINCIPAL = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": SECRET}


@dataclass(frozen=True)
class Lab:
    cloud: Cloud
    proxy: Proxy
    container: ContainerClient
    certificates: Certificates

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs to be in the lab, and nobody in particular."""
        ways = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), self.proxy.address)
        return {**ways, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "REQUESTS_CA_BUNDLE": str(self.certificates.authority)}

    def register(self, name: str, files: dict[str, bytes], store: str = "by_sas", prefix: str = "") -> str:
        """Version 1 of a model of these files; its address."""
        prefix = prefix or f"LocalUpload/{name}/upload"
        for path, content in files.items():
            self.container.upload_blob(f"{prefix}/{path}", content, overwrite=True)
        self.cloud.models[name, "1"] = (
            f"azureml:/{WORKSPACE.replace('/providers/Microsoft.MachineLearningServices', '')}/datastores/{store}/paths/{prefix}"
        )
        return address(name)


def address(name: str, version: str = "1") -> str:
    return f"azureml:/{WORKSPACE}/models/{name}/versions/{version}"


@contextmanager
def azure_lab(folder: Path) -> Iterator[Lab]:
    certificates = make_certificates(folder, [MANAGEMENT, ENTRA, REGISTRIES, STORAGE])
    key = base64.b64encode(secrets.token_bytes(64)).decode()
    port = free_port()
    azurite = _azurite(folder, port, key, certificates)
    cloud = Cloud(certificates, ACCOUNT, key, CONTAINER)
    proxy = Proxy({**dict.fromkeys((MANAGEMENT, ENTRA, REGISTRIES), cloud.server_port), STORAGE: port})
    ours = {"connection_verify": str(certificates.authority), "use_env_settings": False}
    try:
        _wait(azurite, port, folder)
        with ContainerClient(f"https://127.0.0.1:{port}/{ACCOUNT}", CONTAINER, credential=key, **ours) as container:
            container.create_container()
            yield Lab(cloud, proxy, container, certificates)
    finally:
        azurite.kill()
        azurite.wait()
        for server in (proxy, cloud):
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
