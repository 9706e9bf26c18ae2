"""Where things are and what was chosen: environment and one TOML file, read once into one frozen value."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from toolkit.errors import ToolkitError

CHECKOUT = Path(__file__).resolve().parent.parent
"""The checkout that holds `containers/` and `data/`; the toolkit is installed from it in editable form."""

BUILD_PYTHON = CHECKOUT / ".venv-build" / "bin" / "python"

ENGINES = ("auto", "docker", "local")
FLAVOURS = ("auto", "cpu", "cuda12", "cuda13")
THEMES = ("dark", "light")


@dataclass(frozen=True)
class Settings:
    home: Path
    """Folder of runs, models and cache (`EDGE_HOME`)."""
    engine: str = "auto"
    """auto, docker or local (`EDGE_ENGINE`)."""
    flavour: str = "auto"
    """What builds compute with: auto (what fits this machine), cpu, cuda12 or cuda13 (`EDGE_FLAVOUR`)."""
    build_python: Path = BUILD_PYTHON
    """Python of the local build environment (`EDGE_BUILD_PYTHON`); its default is that of the cpu flavour."""
    build_image: str = ""
    """Build image to use instead of our own (`EDGE_BUILD_IMAGE`)."""
    base_image: str = ""
    """Base of the images we build; empty: each Dockerfile's default (`EDGE_BASE_IMAGE`)."""
    build_memory_mb: int = 0
    """Memory limit of the build container in MB; 0: none (`EDGE_BUILD_MEMORY_MB`)."""
    theme: str = ""
    """dark or light; empty: as the terminal's background is (`EDGE_THEME`)."""
    workspace: str = ""
    """Azure ML workspace that models are registered in, as SUBSCRIPTION/GROUP/NAME (`EDGE_WORKSPACE`)."""
    registry: str = ""
    """Registry that images are pushed to, as HOST or HOST/PREFIX (`EDGE_REGISTRY`)."""
    tenant: str = ""
    """Tenant to sign in to; empty: the account's own (`EDGE_TENANT`)."""
    containers: Path = CHECKOUT / "containers"
    """Dockerfiles and the programs inside images (`EDGE_CONTAINERS`)."""
    devices: Path = CHECKOUT / "data" / "devices"
    samples: Path = CHECKOUT / "data" / "samples"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def models(self) -> Path:
        return self.home / "models"

    @property
    def recipes(self) -> Path:
        """Recipes written in the terminal UI."""
        return self.home / "recipes"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    def environment(self, flavour: str) -> Path:
        """Python of the local build environment of a flavour (`make build-env FLAVOUR=...`); one that was set serves for all."""
        if flavour == "cpu" or self.build_python != BUILD_PYTHON:
            return self.build_python
        return CHECKOUT / f".venv-build-{flavour}" / "bin" / "python"

    def environments(self) -> tuple[str, ...]:
        """The flavours for CUDA whose local build environments are installed."""
        return tuple(
            flavour for flavour in FLAVOURS[2:] if self.environment(flavour) != self.build_python and self.environment(flavour).exists()
        )


def config_file(environ: dict[str, str]) -> Path:
    """`~/.config/edge-toolkit/settings.toml`, or under `XDG_CONFIG_HOME`."""
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "~"), ".config")
    return Path(base).expanduser() / "edge-toolkit" / "settings.toml"


def load(environ: dict[str, str] | None = None) -> Settings:
    """The settings in force: the environment wins over the file, the file over the defaults.

    Raises:
        ToolkitError: the file is not TOML, names an unknown setting, or a value is impossible.
    """
    environ = dict(os.environ) if environ is None else environ
    chosen = {**_from_file(config_file(environ)), **_from_environment(environ)}
    engine = chosen.get("engine", "auto")
    if engine not in ENGINES:
        raise ToolkitError(f"Unknown engine '{engine}'.", f"Set EDGE_ENGINE to one of: {', '.join(ENGINES)}.")
    flavour = chosen.get("flavour", "auto")
    if flavour not in FLAVOURS:
        raise ToolkitError(f"Unknown flavour '{flavour}'.", f"Set EDGE_FLAVOUR to one of: {', '.join(FLAVOURS)}.")
    if chosen.get("theme", "") not in ("", *THEMES):
        raise ToolkitError(f"Unknown theme '{chosen['theme']}'.", f"Set EDGE_THEME to one of: {', '.join(THEMES)}.")
    home = Path(chosen.get("home", CHECKOUT / "data")).expanduser().absolute()
    plain = {key: chosen[key] for key in ("build_image", "base_image", "theme", "workspace", "registry", "tenant") if key in chosen}
    for key in ("build_python", "containers"):
        if key in chosen:
            plain[key] = Path(chosen[key]).expanduser().absolute()
    memory = chosen.get("build_memory_mb", "0")
    if not memory.isdigit():
        raise ToolkitError(f"EDGE_BUILD_MEMORY_MB is '{memory}', no number of megabytes.", "Set it to a whole number, such as 16000.")
    return Settings(home=home, engine=engine, flavour=flavour, build_memory_mb=int(memory), **plain)


_KEYS = (
    "home", "engine", "flavour", "build_python", "build_image", "base_image", "build_memory_mb", "theme", "workspace", "registry",
    "tenant", "containers",
)  # fmt: skip


def _from_environment(environ: dict[str, str]) -> dict[str, str]:
    return {key: environ[f"EDGE_{key.upper()}"] for key in _KEYS if environ.get(f"EDGE_{key.upper()}")}


def _from_file(path: Path) -> dict[str, str]:
    try:
        chosen = tomllib.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ToolkitError(f"{path}: {exc}.", "Correct the file or remove it.") from exc
    unknown = sorted(set(chosen) - set(_KEYS))
    if unknown:
        raise ToolkitError(f"{path}: unknown setting '{unknown[0]}'.", f"Known settings: {', '.join(_KEYS)}.")
    wrong = [key for key, value in chosen.items() if not isinstance(value, str)]
    if wrong:
        raise ToolkitError(f"{path}: '{wrong[0]}' must be a string.", "Put the value in quotes.")
    return chosen
