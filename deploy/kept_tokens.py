"""A credential whose tokens are kept in memory: `az` takes a second for each, and every client of Azure's asks for its own."""

from __future__ import annotations

import threading
import time
from typing import Any

LEFT_SECONDS = 300
"""A token with less of its life left is got anew, as Azure's own clients do."""


class KeptTokens:
    """Answers azure-core's TokenCredential, for several threads. Holds secrets: it has no words of its own."""

    def __init__(self, credential: Any, first: tuple[str, Any] | None = None) -> None:
        """`first`: a scope and the token that was got for it already."""
        self._credential = credential
        self._tokens: dict[tuple[str, ...], Any] = {(first[0],): first[1]} if first else {}
        self._getting = threading.Lock()

    def get_token(self, *scopes: str, claims: str | None = None, tenant_id: str | None = None, **_: Any) -> Any:
        """Always without continuous access evaluation, whose tokens lie in a cache of their own that a sign-in does not fill."""
        if claims or tenant_id:
            return self._credential.get_token(*scopes, claims=claims, tenant_id=tenant_id)
        with self._getting:  # others wait for this very answer
            known = self._tokens.get(scopes)
            if known is None or known.expires_on - time.time() < LEFT_SECONDS:
                known = self._tokens[scopes] = self._credential.get_token(*scopes)
            return known
