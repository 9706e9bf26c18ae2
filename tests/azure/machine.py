"""What a compute instance has of its own: an endpoint that gives its identity's tokens, and a fake `az`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from tests.azure.calls import Answer, Call, error
from tests.azure.entra import ADA, MACHINE, TENANT, Entra
from tests.azure.fronts import Front

MSI_SECRET = "only this machine knows"
RESOURCES = ("https://management.azure.com", "https://storage.azure.com", "https://containerregistry.azure.net", "https://ml.azure.com")


class Machine(Front):
    """The endpoint that MSI_ENDPOINT names, on plain HTTP."""

    def __init__(self, people: Entra, unknown: list[str]) -> None:
        self._people = people
        self.says: int | str = "token"
        """The status of its refusals, or `token`."""
        self.who = MACHINE
        super().__init__(None, unknown)

    def reset(self) -> None:
        super().reset()
        self.says, self.who = "token", MACHINE

    @property
    def environ(self) -> dict[str, str]:
        return {"MSI_ENDPOINT": f"http://127.0.0.1:{self.server_port}/MSI/auth", "MSI_SECRET": MSI_SECRET}

    def answer(self, call: Call) -> Answer | None:
        if (call.method, call.path) != ("GET", "/MSI/auth") or call.query.get("api-version") != "2017-09-01":
            return None
        if isinstance(self.says, int):
            return error(self.says, "IdentityNotFound", "Identity not found.")
        if call.headers.get("secret") != MSI_SECRET:
            return error(401, "Unauthorized", "The secret header is wrong.")
        until = int(self._people.now()) + self._people.expires_in()
        token = self._people.token(call.query["resource"], self.who)
        return Answer(200, {"access_token": token, "expires_on": str(until), "resource": call.query["resource"], "token_type": "Bearer"})


def write_az(folder: Path, people: Entra, fails: str = "") -> Path:
    """A program `az` in `folder` that gives Ada's tokens, or fails with a text."""
    program = folder / "az"
    cases = []
    for resource in RESOURCES:
        until = int(people.now()) + people.expires_in()
        answer = {"accessToken": people.token(resource, ADA), "expires_on": until, "tenant": TENANT, "tokenType": "Bearer"}
        cases.append(f"  *'--resource {resource}'*) echo {shlex.quote(json.dumps(answer))} ;;")
    told = f"echo {shlex.quote(fails)} >&2\nexit 1" if fails else 'case "$*" in\n' + "\n".join(cases) + "\n  *) exit 2 ;;\nesac"
    program.write_text(f"#!/bin/sh\n{told}\n")
    program.chmod(0o755)
    return program
