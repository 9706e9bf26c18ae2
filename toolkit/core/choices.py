"""What a person chose once, kept in the settings' file beside what they wrote there themselves."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from toolkit.core.files import write_text
from toolkit.errors import ToolkitError
from toolkit.settings import Settings, config_file

KEYS = ("workspace", "registry", "tenant")


def remember(key: str, value: str, file: Path | None = None) -> Path:
    """Set one of KEYS in the settings' file, or remove it where `value` is empty; comments and all else stay.

    Raises:
        ToolkitError: the file is not TOML, or cannot be written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    assert key in KEYS
    file = file or config_file(dict(os.environ))
    try:
        text = file.read_text("utf-8") if file.exists() else ""
        document = tomlkit.parse(text)
        if value:
            document[key] = value
        else:
            document.pop(key, None)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, tomlkit.dumps(document))
    except (TOMLKitError, UnicodeDecodeError) as exc:
        raise ToolkitError(f"{file}: {exc}.", "Correct the file or remove it.") from exc
    except OSError as exc:
        raise ToolkitError(
            f"{file} cannot be written: {exc.strerror or exc}.", f"Set EDGE_{key.upper()} instead, or correct its permissions."
        ) from exc
    return file


INSTANCE_FILE = "config.json"
"""What the studio's `config.json` of a workspace is called; a compute instance has one above every folder of its users."""
INSTANCE_FOLDER = Path("/config")


def workspace_of(settings: Settings, start: Path | None = None) -> str:
    """The workspace that was chosen, else that of a compute instance's config.json here or above: SUBSCRIPTION/GROUP/NAME, or nothing."""
    if settings.workspace:
        return settings.workspace
    with suppress(OSError):  # the folder that we are in was removed
        return workspace_in(start or Path.cwd())
    return ""


def workspace_in(start: Path) -> str:
    """The workspace that a config.json names: in a folder or above it, in the person's home, or in the machine's own."""
    here = start.absolute()
    for folder in (here, *here.parents, Path("~").expanduser(), INSTANCE_FOLDER):
        for file in (folder / INSTANCE_FILE, folder / ".azureml" / INSTANCE_FILE):
            if found := _named_in(file):
                return found
    return ""


def _named_in(file: Path) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        named = json.loads(file.read_text("utf-8"))
        parts = [named[key] for key in ("subscription_id", "resource_group", "workspace_name")]
        if all(isinstance(part, str) and part for part in parts):
            return "/".join(parts)
    return ""
