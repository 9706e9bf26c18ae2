"""What would let us in: registries and Azure. Names only; no secret is read into a finding."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from toolkit.core.finding import Finding, Scene
from toolkit.core.registry_access import PASSWORD_VARIABLE, USERNAME_VARIABLE
from toolkit.core.workbench import cloud_hint
from toolkit.settings import config_file

SERVICE_PRINCIPAL = ("AZURE_CLIENT_ID", "AZURE_TENANT_ID")
ACCOUNT_FILE = "azure-account.json"
"""Beside the settings: names the account that signed in by a device code; holds no token."""
MACHINE_IDENTITY = ("MSI_ENDPOINT", "IDENTITY_ENDPOINT")
"""Set on machines of Azure's that have an identity of their own, as compute instances do."""
PROOFS = ("AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE")


def registries(scene: Scene) -> Finding:
    """Of the environment, and of the Docker client's own configuration."""
    user, has_password = scene.environ.get(USERNAME_VARIABLE, ""), bool(scene.environ.get(PASSWORD_VARIABLE))
    if user and not has_password:
        return Finding("registries", "warning", f"{USERNAME_VARIABLE} is set, {PASSWORD_VARIABLE} is not", f"Set {PASSWORD_VARIABLE} too.")
    said = [f"user {user} from {USERNAME_VARIABLE}"] if user else []
    path = docker_config(scene.environ)
    try:
        said += _known_to_docker(json.loads(path.read_text("utf-8")))
    except OSError:
        pass  # the Docker client was never used to log in
    except (ValueError, AttributeError, TypeError):
        return Finding("registries", "warning", f"{path} is damaged: it is no JSON object", "Correct it, or remove it and log in again.")
    nothing = "no credentials here; a push asks, or takes --username and --password-stdin"
    return Finding("registries", "ok", "; ".join(said) or nothing)


def docker_config(environ: Mapping[str, str]) -> Path:
    folder = environ.get("DOCKER_CONFIG") or Path(environ.get("HOME", "~")).expanduser() / ".docker"
    return Path(folder) / "config.json"


def _known_to_docker(config: dict) -> list[str]:
    said = []
    if logins := sorted(config.get("auths") or {}):
        said.append(f"Docker has logins for {', '.join(logins)}")
    if helpers := config.get("credHelpers") or {}:
        said.append("helpers for " + ", ".join(f"{host} ({name})" for host, name in sorted(helpers.items())))
    if store := config.get("credsStore"):
        said.append(f"kept in {store}")
    return said


def azure(scene: Scene) -> Finding:
    """The optional libraries, and what their chain of sign-ins would find."""
    try:
        said = [f"azure-ai-ml {version('azure-ai-ml')}"]
    except PackageNotFoundError:
        return Finding("azure", "ok", "not installed; only azureml:// models and Azure targets need it", f"`{cloud_hint()}`")
    environ = scene.environ
    principal = [name for name in SERVICE_PRINCIPAL if environ.get(name)]
    proofs = [name for name in PROOFS if environ.get(name)]
    if (principal or proofs) and not (len(principal) == len(SERVICE_PRINCIPAL) and proofs):
        lacking = [name for name in SERVICE_PRINCIPAL if name not in principal] + ([] if proofs else [" or ".join(PROOFS)])
        said.append(f"set: {', '.join(principal + proofs)}; lacking: {', '.join(lacking)}")
        return Finding("azure", "warning", "; ".join(said), "Set all of them for a service principal, or none and `edge login`.")
    if principal:
        return Finding("azure", "ok", "; ".join([*said, f"service principal from {', '.join(principal + proofs)}"]))
    ways = _ways(environ)
    hint = "" if any(is_ready for _, is_ready in ways) else "Where Azure is wanted: `edge login`."
    return Finding("azure", "ok", "; ".join([*said, *(words for words, _ in ways)]), hint)


def _ways(environ: Mapping[str, str]) -> list[tuple[str, bool]]:
    """What a sign-in would try, and whether it looks ready; whether it still works only Azure knows."""
    home = Path(environ.get("HOME", "~")).expanduser()
    ways = [("signed in by a code before", True)] if config_file(dict(environ)).with_name(ACCOUNT_FILE).exists() else []
    has_login = (home / ".azure" / "azureProfile.json").exists()
    if shutil.which("az", path=environ.get("PATH")):
        ways.append(("az is signed in" if has_login else "az is here, not signed in", has_login))
    else:
        ways.append(("no az", False))
    if any(environ.get(name) for name in MACHINE_IDENTITY):
        ways.append(("this machine has an identity", True))
    return ways
