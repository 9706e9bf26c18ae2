"""A store of models by name and version, as publishing needs it. `deploy` answers with Azure ML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class ModelCard:
    """What a model is registered as."""

    name: str
    version: str = ""
    """Empty: the next number."""
    type: str = "custom_model"
    """custom_model, mlflow_model or triton_model."""
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    """Cannot be changed once the version is there."""


@dataclass(frozen=True)
class RegisteredModel:
    """A version of a model as the store has it."""

    name: str
    version: str
    id: str
    """`azureml:NAME:VERSION`, or the whole `azureml://` address in a registry."""
    path: str
    """Address of its bytes."""
    type: str = "custom_model"
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    created: float = 0
    """Seconds since the epoch; 0: not said."""


@dataclass(frozen=True)
class Moved:
    """How far an upload or a download is."""

    file: str
    done: int
    """Bytes of all files that are there."""
    total: int
    skipped: int = 0
    """Bytes of `done` that were there already."""
    parts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """`(done, total)` by file."""


Tell = Callable[[Moved], None]


@dataclass(frozen=True)
class Planned:
    """What registering would do, found out before any byte moves."""

    version: str
    existing: RegisteredModel | None = None
    """This very content is there under this version."""


class ModelRegistry(Protocol):
    """All of it may raise CloudError, and PublishError where the store refuses."""

    place: str
    """As it was asked for."""

    def plan(self, card: ModelCard, digest: str) -> Planned:
        """Which version it will be; `digest` is the content's, as hexadecimal SHA-256.

        Raises:
            VersionTaken: the version is there with other content.
            PublishError: name or version that the store does not take.
        """

    def register(self, folder: Path, digest: str, card: ModelCard, tell: Tell) -> RegisteredModel:
        """Upload what the store lacks, then register; `card` has its version. The same content again moves nothing.

        Raises:
            VersionTaken: somebody was quicker, with other content.
        """

    def find(self, name: str, version: str = "") -> RegisteredModel | None:
        """A version, the newest where none is named."""

    def listed(self, name: str = "") -> list[RegisteredModel]:
        """Newest first: every version of a model, or the newest of each."""

    def download(self, model: RegisteredModel, folder: Path, tell: Tell) -> None:
        """Its files into a folder, streaming; goes on with what an earlier try left there."""
