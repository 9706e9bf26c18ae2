"""docker-registry on loopback behind the lab's fronts: what it keeps can be looked into, and its tokens are the lab's."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import jwt

from tests.azure.arm import REGISTRY_HOST
from tests.azure.certs import TokenSigner, make_token_signer
from tests.services.fixtures import free_port

ISSUER = "lab"


@dataclass(frozen=True)
class Stored:
    """An image as the registry keeps it."""

    digest: str
    manifest: dict
    config: dict


class RegistryService:
    """docker-registry on loopback, and the tokens that it believes."""

    def __init__(self, folder: Path) -> None:
        self.port, self._folder = free_port(), folder
        folder.mkdir()
        self._signer: TokenSigner = make_token_signer(folder)
        (folder / "storage").mkdir()
        where = {"realm": f"https://{REGISTRY_HOST}/oauth2/token", "service": REGISTRY_HOST, "issuer": ISSUER}
        config = {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}, "delete": {"enabled": True}},
            "http": {"addr": f"127.0.0.1:{self.port}", "secret": "lab", "relativeurls": True},
            "auth": {"token": {**where, "rootcertbundle": str(self._signer.certificate)}},
        }
        (folder / "config.yml").write_text(json.dumps(config))
        self.reset()
        with (folder / "registry.log").open("ab") as log:
            self._process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)

    def reset(self) -> None:
        """Empty, and whoever has a token may keep it."""
        self.token_seconds: float = 4500
        self.generation, self.sign_in_generation = 1, 1
        shutil.rmtree(self._folder / "storage" / "docker", ignore_errors=True)

    def wait(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v2/", timeout=1)
            except urllib.error.HTTPError as exc:
                if exc.code == 401:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"The registry did not start: {(self._folder / 'registry.log').read_text()[-2000:]}")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def sign(self, who: str, access: list[dict], seconds: int) -> str:
        now = int(time.time())
        about = {"iss": ISSUER, "sub": who, "aud": REGISTRY_HOST, "access": access, "generation": self.generation}
        times = {"exp": now + seconds, "nbf": now - 60, "iat": now - 60, "jti": secrets.token_hex(8)}
        return jwt.encode({**about, **times}, self._signer.key, algorithm="ES256", headers=self._signer.head)

    def stored(self, repository: str, reference: str) -> Stored | None:
        digest = reference
        if not reference.startswith("sha256:"):
            link = self._root / "repositories" / repository / "_manifests" / "tags" / reference / "current" / "link"
            if not link.exists():
                return None
            digest = link.read_text()
        if not (self._root / "repositories" / repository / "_manifests" / "revisions" / digest.replace(":", "/") / "link").exists():
            return None
        manifest = json.loads(self.blob(digest).read_bytes())
        return Stored(digest, manifest, json.loads(self.blob(manifest["config"]["digest"]).read_bytes()))

    def subject(self, digest: str) -> str:
        """Digest of what a stored manifest refers to; empty: to nothing."""
        if not digest.startswith("sha256:") or not self.blob(digest).exists():
            return ""
        return (_parsed(self.blob(digest)).get("subject") or {}).get("digest", "")

    def referrers(self, repository: str, subject: str) -> list[dict]:
        found = []
        for link in sorted((self._root / "repositories" / repository / "_manifests" / "revisions" / "sha256").glob("*/link")):
            digest = link.read_text()
            if self.subject(digest) != subject:
                continue
            manifest = _parsed(self.blob(digest))
            kind = manifest.get("artifactType") or manifest.get("config", {}).get("mediaType", "")
            about = {"mediaType": manifest["mediaType"], "digest": digest, "size": self.blob(digest).stat().st_size}
            found.append({**about, "artifactType": kind, "annotations": manifest.get("annotations", {})})
        return found

    def held(self, token: str) -> set[str]:
        """What a token of ours allows, as `repository:NAME:ACTION`."""
        try:
            claims = jwt.decode(token, self._signer.key.public_key(), ["ES256"], audience=REGISTRY_HOST)
        except jwt.InvalidTokenError:
            return set()
        return {f"{one['type']}:{one['name']}:{action}" for one in claims["access"] for action in one["actions"]}

    def blob(self, digest: str) -> Path:
        plain = digest.removeprefix("sha256:")
        return self._root / "blobs" / "sha256" / plain[:2] / plain / "data"

    def stored_bytes(self) -> int:
        """Bytes of every blob the registry keeps, each counted once."""
        return sum(path.stat().st_size for path in (self._root / "blobs").rglob("data"))

    def pending_bytes(self) -> int:
        return sum(path.stat().st_size for path in (self._root / "repositories").glob("**/_uploads/*/data"))

    @property
    def _root(self) -> Path:
        return self._folder / "storage" / "docker" / "registry" / "v2"


def _parsed(path: Path) -> dict:
    """A manifest; what else a digest may stand for refers to nothing."""
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return {}
