"""What a client asks, checked: OpenAI's chat completion request, as far as it is served here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asked import Asked, common, refuse
from errors import wrong
from fields import integer, json_object, text, typed

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
MOST_LOGPROBS = 20

NOT_SERVED: Mapping[str, tuple[Any, ...]] = {
    "tools": (),
    "tool_choice": ("none", "auto"),
    "functions": (),
    "function_call": ("none", "auto"),
    "audio": (),
    "modalities": (["text"],),
    "prediction": (),
    "web_search_options": (),
}
"""As `asked.NOT_SERVED`, of chats alone."""
NOT_SERVED_IN_MESSAGES: Mapping[str, tuple[Any, ...]] = {"tool_calls": (), "function_call": (), "audio": ()}


def parse(raw: bytes, ids: Sequence[str]) -> Asked:
    """The request in `raw` to one of the models `ids`; to the first where it names none.

    Raises:
        ApiError: 400 saying which field is wrong, or 404 for a model that is not there.
    """
    body = json_object(raw)
    refuse(body, NOT_SERVED)
    return Asked(
        **common(body, ids),
        messages=_messages(body.get("messages")),
        max_tokens=_max_tokens(body),
        logprobs=_logprobs(body),
    )


def _max_tokens(body: dict[str, Any]) -> int | None:
    param = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    return integer(body, param, None, 1, 1_000_000_000)


def _logprobs(body: dict[str, Any]) -> int | None:
    most = integer(body, "top_logprobs", None, 0, MOST_LOGPROBS)
    if typed(body, "logprobs", bool, False):
        return most or 0
    if most:
        raise wrong("top_logprobs", "'top_logprobs' needs 'logprobs': true.")
    return None


def _messages(found: Any) -> tuple[dict[str, str], ...]:
    if not isinstance(found, list) or not found:
        raise wrong("messages", "'messages' must be a list with at least one message.")
    return tuple(_message(message, f"messages[{index}]") for index, message in enumerate(found))


def _message(found: Any, where: str) -> dict[str, str]:
    if not isinstance(found, dict):
        raise wrong(where, f"'{where}' must be an object with a role and a content.")
    role = found.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise wrong(f"{where}.role", f"'{where}.role' must be one of {', '.join(ROLES)}.")
    refuse(found, NOT_SERVED_IN_MESSAGES)
    return {"role": ROLES[role], "content": _content(found.get("content"), f"{where}.content")}


def _content(found: Any, where: str) -> str:
    if isinstance(found, str):
        return text(found, where)
    if isinstance(found, list) and found and all(_is_text_part(part) for part in found):
        return text("".join(part["text"] for part in found), where)
    raise wrong(where, f"'{where}' must be a string or a list of text parts.")


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
