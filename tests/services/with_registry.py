"""Run a command beside a registry of its own on loopback: `python -m tests.services.with_registry COMMAND...`.

The command gets `--registry HOST/travel` at its end and the credentials in its environment. Where the machine has no
docker-registry, the command runs without.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.services.fixtures import Registry, free_port


def main(command: list[str]) -> int:
    if not (shutil.which("docker-registry") and shutil.which("htpasswd")):
        print("No docker-registry on this machine: the push is left out.", file=sys.stderr)
        return subprocess.run(command).returncode
    with tempfile.TemporaryDirectory(prefix="edge-registry-") as folder:
        registry = Registry(Path(folder), free_port(), password=secrets.token_urlsafe(12))
        registry.start()
        try:
            access = {"EDGE_REGISTRY_USERNAME": registry.user, "EDGE_REGISTRY_PASSWORD": registry.password}
            return subprocess.run([*command, "--registry", f"{registry.address}/travel"], env={**os.environ, **access}).returncode
        finally:
            registry.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
