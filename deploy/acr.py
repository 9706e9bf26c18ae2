"""Signing in to a container registry of Azure's: our token of Entra's is exchanged for one that the registry itself gives."""

from __future__ import annotations

import base64
import json
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from toolkit.core.cloud import RegistrySignIn
from toolkit.core.engine import Credentials
from toolkit.errors import CloudError, RegistryDenied, SignInError

if TYPE_CHECKING:
    import httpx

NOBODY = "00000000-0000-0000-0000-000000000000"
"""The user name that goes with a registry's own refresh token."""
AUDIENCES = ("https://management.azure.com/.default", "https://containerregistry.azure.net/.default")
"""Registries take tokens for the first, unless their policy turns it off; all take those for the second, which not every tenant knows."""
LEFT = 0.2
"""A sign-in is renewed when less than this share of its life is left."""
UNKNOWN_SECONDS = 600
"""Life of a token that does not say how long it lives."""
TRIES, PAUSE_SECONDS = 4, 1.0
BUSY = (408, 429, 500, 502, 503, 504)
ROLES = "Ask for the role AcrPush on the registry, and sign in to the tenant that it belongs to (`edge login`)."


def registry_sign_in(credential: Any, host: str, tenant: str = "") -> RegistrySignIn:
    """A sign-in at `host`, by a credential of azure-identity's; nothing is asked before it is needed."""
    return _SignIn(credential, host.lower(), tenant)


class _SignIn:
    """One sign-in for all threads, kept in memory."""

    def __init__(self, credential: Any, host: str, tenant: str) -> None:
        self._credential, self._host, self._tenant = credential, host, tenant
        self._given: Credentials | None = None
        self._good_until = 0.0
        """By the clock that nobody sets: that of the machine may be wrong."""
        self._audiences = AUDIENCES
        self._working = threading.Lock()

    def __call__(self, is_refused: bool = False) -> Credentials:
        """What the registry lets us in with.

        Raises:
            SignInError: nobody is signed in to Azure.
            RegistryDenied: the registry does not take who we are.
            CloudError: it does not answer.
        """
        with self._working:
            if self._given is None or is_refused or time.monotonic() >= self._good_until:
                token = self._exchanged()
                self._given = Credentials(NOBODY, token)
                self._good_until = time.monotonic() + _life(token) * (1 - LEFT)
            return self._given

    def _exchanged(self) -> str:
        """The registry's own refresh token. The audience that worked is the first to be tried next time."""
        import httpx

        refusals: list[Exception] = []
        with httpx.Client(timeout=30) as client:
            for audience in self._audiences:
                try:
                    answer = self._asked(client, self._token(audience))
                except SignInError as exc:
                    refusals.append(exc)
                    continue
                if answer.status_code == 200:
                    self._audiences = tuple(sorted(AUDIENCES, key=lambda known: known != audience))
                    return _refresh_token(answer, self._host)
                refusals.append(RegistryDenied(f"The registry {self._host} does not let us in: {_said(answer)}.", ROLES))
        raise next((refusal for refusal in refusals if isinstance(refusal, RegistryDenied)), refusals[0])

    def _token(self, audience: str) -> str:
        from azure.core.exceptions import AzureError

        try:
            return self._credential.get_token(audience).token
        except AzureError as exc:
            reason = (str(exc).strip().splitlines() or ["it said nothing"])[0]
            raise SignInError(f"Azure gave no token for {self._host}: {reason}", "`edge login` signs you in.") from exc

    def _asked(self, client: httpx.Client, token: str) -> httpx.Response:
        """The answer of the exchange; a busy registry is asked some times."""
        form = {"grant_type": "access_token", "service": self._host, "access_token": token}
        if self._tenant:
            form["tenant"] = self._tenant
        for tried in range(1, TRIES + 1):
            why = ""
            try:
                answer = _post(client, f"https://{self._host}/oauth2/exchange", form)
                if answer.status_code not in BUSY:
                    return answer
                why = f"it answered {answer.status_code}"
            except OSError as exc:
                why = str(exc)
            if tried < TRIES:
                time.sleep(PAUSE_SECONDS * 2 ** (tried - 1))
        raise CloudError(f"The registry {self._host} does not sign us in: {why}.", "Check its name and the network, then try again.")


def _post(client: httpx.Client, url: str, form: dict[str, str]) -> httpx.Response:
    """Raises OSError, in words that hold nothing of what was sent."""
    import httpx

    try:
        return client.post(url, data=form)
    except httpx.HTTPError as exc:
        raise OSError(f"{type(exc).__name__} {exc}".strip()) from None


def _refresh_token(answer: httpx.Response, host: str) -> str:
    with suppress(ValueError, KeyError, TypeError):
        if token := str(answer.json()["refresh_token"]):
            return token
    raise CloudError(f"What answers at {host} is no registry of Azure's.", "Check the registry's name.")


def _said(answer: httpx.Response) -> str:
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        error = answer.json()["errors"][0]
        return f"{answer.status_code} {error.get('code', '')} {error.get('message', '')}".strip()[:300]
    return f"it answered {answer.status_code}"


def _life(token: str) -> float:
    """Seconds that a token lives from its making on, as it says itself."""
    with suppress(ValueError, LookupError, TypeError, AttributeError):
        middle = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
        return max(0.0, float(claims["exp"]) - float(claims.get("iat", claims.get("nbf"))))
    return UNKNOWN_SECONDS
