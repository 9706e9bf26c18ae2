"""What a client asks, checked: OpenAI's text completion request, as far as it is served here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asked import Asked, common, refuse
from errors import wrong
from fields import integer, is_whole, json_object, text

DEFAULT_MAX_TOKENS = 16
"""OpenAI's own, of this endpoint."""
MOST_LOGPROBS = 5
LARGEST_ID = 2**31 - 1

NOT_SERVED: Mapping[str, tuple[Any, ...]] = {"echo": (), "suffix": ()}
"""As `asked.NOT_SERVED`, of completions alone."""


def parse(raw: bytes, ids: Sequence[str]) -> Asked:
    """The request in `raw` to one of the models `ids`; to the first where it names none.

    Raises:
        ApiError: 400 saying which field is wrong, or 404 for a model that is not there.
    """
    body = json_object(raw)
    refuse(body, NOT_SERVED)
    return Asked(
        **common(body, ids),
        **_prompt(body.get("prompt")),
        max_tokens=integer(body, "max_tokens", DEFAULT_MAX_TOKENS, 1, 1_000_000_000),
        logprobs=integer(body, "logprobs", None, 0, MOST_LOGPROBS),
    )


def _prompt(found: Any) -> dict[str, Any]:
    """A text, a list of one text, token ids, or a list of one list of token ids."""
    if isinstance(found, list) and len(found) == 1 and isinstance(found[0], (str, list)):
        found = found[0]
    if isinstance(found, str) and found:
        return {"prompt": text(found, "prompt")}
    if isinstance(found, list) and found and all(is_whole(token, 0, LARGEST_ID) for token in found):
        return {"prompt_ids": tuple(int(token) for token in found)}
    if isinstance(found, list) and len(found) > 1 and all(isinstance(part, (str, list)) for part in found):
        raise wrong("prompt", f"'prompt' holds {len(found)} prompts, and one is answered at a time. Ask once for each.")
    raise wrong("prompt", "'prompt' must be a text, or a list of token ids, and not empty.")
