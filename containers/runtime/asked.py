"""What every request for an answer says, be it a chat or a text to go on with: the model, how to sample, when to stop."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from errors import ApiError, echo, wrong
from fields import integer, number, text, typed

BASE = "base"
"""Id of the model without an adapter; `base:travel` is the same model with adapter `travel`."""

MAX_STOPS = 4
LONGEST_STOP = 1000
"""Characters; each new piece of an answer is held against every beginning of a stop."""
COLDEST = 0.01
"""Temperatures below count as 0: dividing by less takes scores out of a float's range."""
SEEDS = 2**31
"""Seeds that the library tells apart; a larger one is folded, and repeats as well as any."""

NOT_SERVED: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logit_bias": (),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "min_p": (0,),
    "min_tokens": (0,),
    "ignore_eos": (),
    "response_format": ({"type": "text"},),
    "grammar": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    "structured_outputs": (),
}
"""Fields that would change what the answer says, with the values that ask for nothing; empty values ask for nothing too."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A checked request for an answer."""

    model: str
    adapter: str
    """Empty for the base."""
    messages: tuple[dict[str, str], ...] = ()
    """A chat's; else empty."""
    prompt: str = ""
    """A text to go on with; empty for a chat, and where `prompt_ids` says it."""
    prompt_ids: tuple[int, ...] = ()
    """The same as tokens."""
    stream: bool
    usage_apart: bool
    """`stream_options.include_usage`: usage comes in a chunk of its own with no choices."""
    max_tokens: int | None
    temperature: float
    top_p: float
    top_k: int
    seed: int | None
    stop: tuple[str, ...]
    logprobs: int | None = None
    """So many alternatives of each token; None: no log probabilities."""


def common(body: dict[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    """The fields of `Asked` that both kinds of request have; the first of the models `ids` where none is named.

    Raises:
        ApiError: 400 saying which field is wrong, or 404 for a model that is not there.
    """
    refuse(body, NOT_SERVED)
    model = typed(body, "model", str, ids[0])
    top_p = number(body, "top_p", 1.0, 0, 1)
    temperature = number(body, "temperature", 0.0, 0, 2)
    is_greedy = temperature < COLDEST or top_p == 0
    return {
        "model": model,
        "adapter": _adapter(model, ids),
        "stream": typed(body, "stream", bool, False),
        "usage_apart": _include_usage(body),
        "temperature": 0.0 if is_greedy else temperature,
        "top_p": 1.0 if is_greedy else top_p,
        "top_k": integer(body, "top_k", 50, 0, 1_000_000),
        "seed": _seed(body),
        "stop": _stop(body.get("stop")),
    }


def refuse(body: dict[str, Any], not_served: Mapping[str, tuple[Any, ...]]) -> None:
    """Refuse what would be silently left undone."""
    for param, harmless in not_served.items():
        if not _asks_for_nothing(body.get(param), harmless):
            other = f" other than {json.dumps(harmless[0])}" if harmless else ""
            raise ApiError(400, f"'{param}'{other} is not served here. Leave it out.", param=param, code="unsupported_parameter")


def _asks_for_nothing(found: Any, harmless: tuple[Any, ...]) -> bool:
    if found is None or found is False:
        return True
    if isinstance(found, (str, list, dict)) and not found:
        return True
    return found in harmless and found is not True


def model_ids(adapters: Sequence[str], has_base: bool = True) -> list[str]:
    return [*([BASE] if has_base else []), *(f"{BASE}:{name}" for name in adapters)]


def find_model(model: str, ids: Sequence[str]) -> str:
    """The model's id as it is.

    Raises:
        ApiError: 404, naming those there are.
    """
    if model in ids:
        return model
    raise ApiError(404, f"No model '{echo(model)}' here. There is: {', '.join(ids)}.", param="model", code="model_not_found")


def _adapter(model: str, ids: Sequence[str]) -> str:
    return find_model(model, ids).partition(":")[2]


def _seed(body: dict[str, Any]) -> int | None:
    seed = integer(body, "seed", None, -(2**63), 2**63 - 1)
    return None if seed is None else seed % SEEDS


def _include_usage(body: dict[str, Any]) -> bool:
    return typed(typed(body, "stream_options", dict, {}), "include_usage", bool, False)


def _stop(found: Any) -> tuple[str, ...]:
    if found in (None, ""):
        return ()
    stops = [found] if isinstance(found, str) else found
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(s, str) and s for s in stops):
        raise wrong("stop", f"'stop' must be a string or up to {MAX_STOPS} strings, none empty.")
    if max(map(len, stops), default=0) > LONGEST_STOP:
        raise wrong("stop", f"A stop may be {LONGEST_STOP} characters long.")
    return tuple(text(stop, "stop") for stop in stops)
