"""Taking one image into a registry, in two ways: straight from its layout, or by the engine that holds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from toolkit.core.engine import ImageEngine, PushProgress
from toolkit.core.image_layers import NamedLayer, layers_of
from toolkit.core.reference import Reference
from toolkit.core.registry_access import Access, given
from toolkit.errors import PublishError


class ImageRegistry(Protocol):
    """Takes one image into a registry."""

    layers: Sequence[NamedLayer]
    """Of the image, base first."""
    sent: int | None
    """Bytes of blobs that were sent, also those that were sent again; None: it does not say."""

    def push(self, target: Reference) -> Iterator[PushProgress | str]:
        """Push; yields progress by a layer's short id, at last the digest of what is there now.

        Raises:
            PublishError: the registry refused or went away.
        """


class EnginePush:
    """By the engine, which packs the layers first."""

    sent = None

    def __init__(self, engine: ImageEngine, image_id: str, name: str, access: Access) -> None:
        """Raises PublishError where the image is not there."""
        if engine.find(image_id) is None:
            raise PublishError(f"The image {name} is not in the engine any more.", "Package the run again, then push.")
        self.layers = layers_of(engine, image_id)
        self._engine, self._image_id, self._access = engine, image_id, access

    def push(self, target: Reference) -> Iterator[PushProgress | str]:
        self._engine.tag(self._image_id, str(target))
        yield from self._engine.push(str(target), given(self._access))
