"""What a client asks, checked: the OpenAI chat completion request, as far as it is served here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BASE = "base"
"""Id of the model without an adapter; `base:travel` is the same model with adapter `travel`."""

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
NOT_SERVED = ("tools", "tool_choice", "functions", "function_call", "logprobs", "top_logprobs", "logit_bias", "audio")
MAX_STOPS = 4


class ApiError(Exception):
    """An answer other than 200, in OpenAI's shape."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True, kw_only=True)
class ChatRequest:
    """A checked request."""

    model: str
    adapter: str
    """Empty for the base."""
    messages: tuple[dict[str, str], ...]
    stream: bool
    usage_apart: bool
    """`stream_options.include_usage`: usage comes in a chunk of its own with no choices."""
    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    stop: tuple[str, ...]


def parse(raw: bytes, ids: Sequence[str]) -> ChatRequest:
    """The request in `raw` to one of the models `ids`; to the first where it names none.

    Raises:
        ApiError: 400 saying which field is wrong, or 404 for a model that is not there.
    """
    body = _json_object(raw)
    _refuse_what_is_not_served(body)
    model = _typed(body, "model", str, ids[0])
    return ChatRequest(
        model=model,
        adapter=_adapter(model, ids),
        messages=_messages(body.get("messages")),
        stream=_typed(body, "stream", bool, False),
        usage_apart=_include_usage(body),
        max_tokens=_max_tokens(body),
        temperature=_number(body, "temperature", 0.0, 0, 2),
        top_p=_number(body, "top_p", 1.0, 0, 1),
        top_k=_integer(body, "top_k", 50, 0, 1_000_000),
        seed=_integer(body, "seed", None, 0, 2**31 - 1),
        stop=_stop(body.get("stop")),
    )


def model_ids(adapters: Sequence[str], has_base: bool = True) -> list[str]:
    return [*([BASE] if has_base else []), *(f"{BASE}:{name}" for name in adapters)]


def _wrong(param: str, message: str) -> ApiError:
    return ApiError(400, message, param=param, code="invalid_value")


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise ApiError(400, f"The body is not JSON: {exc}.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise ApiError(400, "The body must be a JSON object.", code="invalid_json")
    return body


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _refuse_what_is_not_served(body: dict[str, Any]) -> None:
    for param in NOT_SERVED:
        if body.get(param):
            raise ApiError(400, f"'{param}' is not served here. Leave it out.", param=param, code="unsupported_parameter")
    if body.get("n") not in (None, 1):
        raise _wrong("n", "Only n = 1 is served.")
    form = body.get("response_format")
    if form is not None and form != {"type": "text"}:
        raise _wrong("response_format", "Only the response format 'text' is served.")


def _typed(body: dict[str, Any], param: str, kind: type, default: Any) -> Any:
    found = body.get(param)
    if found is None:
        return default
    if not isinstance(found, kind):
        names = {str: "a string", bool: "true or false", dict: "an object"}
        raise _wrong(param, f"'{param}' must be {names[kind]}.")
    return found


def _is_number(found: Any) -> bool:
    return isinstance(found, (int, float)) and not isinstance(found, bool)


def _number(body: dict[str, Any], param: str, default: float, low: float, high: float) -> float:
    found = body.get(param)
    if found is None:
        return default
    if not _is_number(found) or not low <= found <= high:
        raise _wrong(param, f"'{param}' must be a number from {low} to {high}.")
    return float(found)


def _integer(body: dict[str, Any], param: str, default: int | None, low: int, high: int) -> int | None:
    found = body.get(param)
    if found is None:
        return default
    if not _is_number(found) or found != found // 1 or not low <= found <= high:
        raise _wrong(param, f"'{param}' must be a whole number from {low} to {high}.")
    return int(found)


def _max_tokens(body: dict[str, Any]) -> int | None:
    param = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    return _integer(body, param, None, 1, 1_000_000_000)


def _include_usage(body: dict[str, Any]) -> bool:
    return _typed(_typed(body, "stream_options", dict, {}), "include_usage", bool, False)


def _stop(found: Any) -> tuple[str, ...]:
    stops = [found] if isinstance(found, str) else found or []
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(s, str) and s for s in stops):
        raise _wrong("stop", f"'stop' must be a string or up to {MAX_STOPS} strings, none empty.")
    return tuple(_sound(stop, "stop") for stop in stops)


def _messages(found: Any) -> tuple[dict[str, str], ...]:
    if not isinstance(found, list) or not found:
        raise _wrong("messages", "'messages' must be a list with at least one message.")
    return tuple(_message(message, f"messages[{index}]") for index, message in enumerate(found))


def _message(found: Any, where: str) -> dict[str, str]:
    if not isinstance(found, dict):
        raise _wrong(where, f"'{where}' must be an object with a role and a content.")
    role = found.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise _wrong(f"{where}.role", f"'{where}.role' must be one of {', '.join(ROLES)}.")
    return {"role": ROLES[role], "content": _content(found.get("content"), f"{where}.content")}


def _content(found: Any, where: str) -> str:
    if isinstance(found, str):
        return _sound(found, where)
    if isinstance(found, list) and all(_is_text_part(part) for part in found):
        return _sound("".join(part["text"] for part in found), where)
    raise _wrong(where, f"'{where}' must be a string or a list of text parts.")


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)


def _sound(text: str, where: str) -> str:
    """The text, refused where JSON smuggled in half a character or a NUL, which the tokenizer would trip over."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _wrong(where, f"'{where}' holds half a surrogate pair, which is no character.") from None
    if "\0" in text:
        raise _wrong(where, f"'{where}' holds a NUL character.")
    return text


def _adapter(model: str, ids: Sequence[str]) -> str:
    if model in ids:
        return model.partition(":")[2]
    raise ApiError(404, f"No model '{model}' here. There is: {', '.join(ids)}.", param="model", code="model_not_found")
