"""Text templates: `{field}` stands for a field of the row, every other brace for itself."""

from __future__ import annotations

import re
from collections.abc import Mapping

FIELD = re.compile(r"\{(\w+)\}")
"""Only a word directly between braces is a field, so JSON in a template needs no escapes."""


def template_fields(text_template: str) -> tuple[str, ...]:
    """The fields that a template names, each once, in order of appearance."""
    return tuple(dict.fromkeys(FIELD.findall(text_template)))


def fill_template(text_template: str, row: Mapping[str, str]) -> str:
    """The template with the row's texts in it; braces inside those texts stay as they are."""
    return FIELD.sub(lambda found: row[found[1]], text_template)
