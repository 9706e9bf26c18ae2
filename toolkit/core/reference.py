"""Image references: `host[:port]/repository[:tag]`, as the distribution specification has them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from toolkit.errors import PublishError

_HOST = re.compile(
    r"^(localhost|[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9a-fA-F:]+\])(:\d{1,5})?$"
)
_REPOSITORY = re.compile(r"^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$")
_TAG = re.compile(r"^\w[\w.-]{0,127}$", re.ASCII)


@dataclass(frozen=True)
class Reference:
    """Where an image goes: registry host, repository and tag."""

    host: str
    repository: str
    tag: str

    @property
    def is_loopback(self) -> bool:
        name = self.host.rsplit(":", 1)[0] if not self.host.endswith("]") else self.host
        return name in ("localhost", "[::1]") or name.startswith("127.")

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}:{self.tag}"


def parse(text: str, default_tag: str = "latest") -> Reference:
    """The reference in `text`.

    Raises:
        PublishError: it is malformed; says which part and what it should look like.
    """
    host, slash, rest = text.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        raise PublishError(f"'{text}' names no registry.", "Write HOST/REPOSITORY[:TAG], such as myregistry.azurecr.io/travel.")
    if not _HOST.match(host):
        raise PublishError(f"'{text}': '{host}' is no registry host.", "Write HOST[:PORT], without https://.")
    repository, colon, tag = rest.partition(":")
    if not _REPOSITORY.match(repository):
        raise PublishError(
            f"'{text}': '{repository}' is no repository name.", "Lower-case letters, digits, and . _ - between them; parts divided by '/'."
        )
    if colon and not _TAG.match(tag):
        raise PublishError(f"'{text}': '{tag}' is no tag.", "Letters, digits, and _ . - after the first character; at most 128.")
    return Reference(host, repository, tag or default_tag)
