"""What the guide says, and that it says it of everything it uses."""

from __future__ import annotations

import pytest

from rlguide.catalog.hyperparameters import hyperparameters
from rlguide.catalog.methods import find_method, method_of, methods
from rlguide.errors import UsageError
from rlguide.recipes.explain import explain_word
from rlguide.recipes.render import load_recipe


@pytest.mark.parametrize("word", [*methods(), *hyperparameters()])
def test_everything_can_be_explained(word: str) -> None:
    lines = explain_word(word)
    assert lines[0].startswith(f"{word}: ")
    assert "None" not in "\n".join(lines)


def test_a_key_is_explained_whole() -> None:
    text = "\n".join(explain_word("pref_beta"))
    for words in ("0.1 (dpo, kto, orpo)", "2.0 (simpo)", "0.01 to 0.5", "change it", "arXiv 2305.18290"):
        assert words in text


def test_unknown_words() -> None:
    with pytest.raises(UsageError, match=r"did you mean pref_beta\?"):
        explain_word("pref_bta")
    with pytest.raises(UsageError, match=r"did you mean simpo\?"):
        find_method("sinpo")


@pytest.mark.parametrize("name", list(methods()))
def test_a_recipe_fits_its_method(name: str) -> None:
    """The recipe's stage and loss are the method's, it holds no key that only others read, each key is explained."""
    method, defaults = methods()[name], load_recipe(name).defaults
    assert method_of(defaults) is method
    foreign = {key for other in methods().values() for key in other.keys} - set(method.keys)
    assert not foreign & set(defaults)
    assert set(defaults) <= set(hyperparameters())
