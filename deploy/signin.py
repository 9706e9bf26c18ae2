"""Who we are to Azure: the credential of this machine that gets a token."""

from __future__ import annotations

import os
import re
from typing import Any

from toolkit.errors import ModelError

SCOPE = "https://management.azure.com/.default"
WAYS = "Run `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET."
CORRECT = "Correct AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or check the network."
MACHINE_IDENTITY = ("MSI_ENDPOINT", "IDENTITY_ENDPOINT")
"""Set on machines of Azure's that have an identity of their own, as compute instances do."""


def sign_in() -> Any:
    """The first credential that gets a token: of Azure's own chain, then of `az` by itself.

    The chain ends at a machine identity that answers with an error, as on a compute instance over SSH, even where `az` is
    signed in.

    Raises:
        ModelError: there is none.
    """
    from azure.core.exceptions import AzureError
    from azure.identity import AzureCliCredential, DefaultAzureCredential

    sources = [DefaultAzureCredential()]
    if any(name in os.environ for name in MACHINE_IDENTITY):
        sources.append(AzureCliCredential())
    refusals = []
    for credential in sources:
        try:
            credential.get_token(SCOPE)
        except AzureError as exc:
            refusals.append(exc)
        else:
            return credential
    raise _told(refusals[0]) from refusals[0]


def _told(refusal: Exception) -> ModelError:
    """The first line of why the service principal of the environment was refused, where one is set."""
    reason = re.search(r"EnvironmentCredential: (.+)", str(refusal))
    if os.environ.get("AZURE_CLIENT_ID") and reason:
        return ModelError(f"Azure gave no token for AZURE_CLIENT_ID: {reason[1]}", CORRECT)
    return ModelError("Nobody is signed in to Azure here.", WAYS)
