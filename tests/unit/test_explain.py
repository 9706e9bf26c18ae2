"""Every step that can be planned or driven says what it does."""

from __future__ import annotations

import pytest

from toolkit.core.explain import QUANTIZE, explain
from toolkit.core.hoststeps import HANDLERS
from toolkit.core.recipe import Quantize

BUILD_KINDS = ("quantize", "finetune", "export", "adapter", "evaluate")


@pytest.mark.parametrize("kind", (*BUILD_KINDS, *HANDLERS))
def test_every_kind_of_step_is_explained(kind: str) -> None:
    assert explain(kind).endswith(".")


def test_every_algorithm_of_a_recipe_is_explained() -> None:
    assert set(QUANTIZE) == set(Quantize.model_fields["algorithm"].annotation.__args__)
