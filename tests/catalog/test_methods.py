"""The entries of the methods fit what reads them."""

from __future__ import annotations

import pytest

from rlguide.catalog.methods import find_method, method_choices, methods, recorded_method
from rlguide.runs.diagnosis.first_step import FORMULAS, first_loss


def test_the_quick_reading_is_that_of_the_parser() -> None:
    assert method_choices() == {name: method.choices for name, method in methods().items()}
    assert list(method_choices()) == list(methods())


@pytest.mark.parametrize("name", list(methods()))
def test_an_entry_holds_together(name: str) -> None:
    method = methods()[name]
    assert method.data in ("pairs", "labels", "prompts", "responses")
    assert method.trains in ("policy", "reward model")
    assert set(method.first_loss) <= set(method.losses or [""])
    assert set(method.first_loss.values()) <= set(FORMULAS)
    assert not method.first_loss or method.has_reference
    assert all(first_loss({"stage": method.stage, "pref_loss": loss or None}) for loss in method.first_loss)


def test_the_default_is_the_recommended_one() -> None:
    assert find_method(None).name == "dpo"
    assert recorded_method(None) is find_method(None)  # records of the first version name no method
    assert recorded_method("one of tomorrow") is None
