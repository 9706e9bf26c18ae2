"""Fields of a JSON request, each read with its type and bounds; what is wrong is said by the field's name."""

from __future__ import annotations

import json
from typing import Any

from errors import ApiError, wrong

NAMES = {str: "a string", bool: "true or false", dict: "an object"}


def json_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`.

    Raises:
        ApiError: 400; not UTF-8, not JSON, nested too deep, a key given twice, or no object.
    """
    try:
        body = json.loads(raw.decode("utf-8-sig"), parse_constant=_no_constant, object_pairs_hook=_without_twins)
    except RecursionError:
        raise ApiError(400, "The body is nested too deeply.", code="invalid_json") from None
    except UnicodeDecodeError as exc:
        raise ApiError(400, f"The body is not UTF-8, from byte {exc.start} on.", code="invalid_json") from None
    except ValueError as exc:
        raise ApiError(400, f"The body is not JSON: {exc}.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise ApiError(400, "The body must be a JSON object.", code="invalid_json")
    return body


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice in one object")
    return found


def typed(body: dict[str, Any], param: str, kind: type, default: Any) -> Any:
    found = body.get(param)
    if found is None:
        return default
    if not isinstance(found, kind):
        raise wrong(param, f"'{param}' must be {NAMES[kind]}.")
    return found


def number(body: dict[str, Any], param: str, default: float, low: float, high: float) -> float:
    found = body.get(param)
    if found is None:
        return default
    if not _is_number(found) or not low <= found <= high:
        raise wrong(param, f"'{param}' must be a number from {low} to {high}.")
    return float(found)


def integer(body: dict[str, Any], param: str, default: int | None, low: int, high: int) -> int | None:
    found = body.get(param)
    if found is None:
        return default
    if not is_whole(found, low, high):
        raise wrong(param, f"'{param}' must be a whole number from {low} to {high}.")
    return int(found)


def is_whole(found: Any, low: int, high: int) -> bool:
    """A whole number within bounds; 3.0 is one, as JSON has but one kind of number."""
    return _is_number(found) and low <= found <= high and found == int(found)


def _is_number(found: Any) -> bool:
    return isinstance(found, (int, float)) and not isinstance(found, bool)


def text(found: str, where: str) -> str:
    """The text, refused where JSON smuggled in half a character or a NUL, which the tokenizer would trip over."""
    try:
        found.encode()
    except UnicodeEncodeError:
        raise wrong(where, f"'{where}' holds half a surrogate pair, which is no character.") from None
    if "\0" in found:
        raise wrong(where, f"'{where}' holds a NUL character.")
    return found
