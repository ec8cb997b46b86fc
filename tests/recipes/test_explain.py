"""What the guide says, and that it says it of everything it uses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rlguide
from rlguide.catalog.hyperparameters import hyperparameters
from rlguide.catalog.methods import find_method, method_of, methods
from rlguide.catalog.yaml_file import read_yaml
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


ROOT = Path(rlguide.__file__).parent
TEXTS = sorted(ROOT.rglob("*.yaml"))
OPEN_END = re.compile(r"(?i)(\b(issues?|see|and|or|of|the|a|an|to|with|from|is|than|arxiv|section)|[,(])$")


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_is_cut_by_a_comment(path: Path) -> None:
    """` #` begins a comment in YAML: "issue #1" must stand in quotes."""
    cut = [text for text in strings(read_yaml(path)) if " " in text.strip() and OPEN_END.search(text.strip())]
    assert not cut
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if re.search(r"^[^#\"']* #\d", line)]


def strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


def test_what_has_no_effect_is_told() -> None:
    text = "\n".join(explain_word("lora_dropout"))
    assert "dpo, kto, orpo, simpo: has no effect" in text and "measured with LLaMA-Factory 0.9.5" in text


def test_a_source_is_told_to_its_end() -> None:
    assert "#10175" in explain_word("cutoff_len")[-1]
    text = "\n".join(explain_word("pref_beta"))
    assert "  simpo     Scale of the reward" in text
    assert "  choices   sigmoid" in "\n".join(explain_word("pref_loss"))


def test_what_is_normal_is_told_where_no_first_loss_tells_it() -> None:
    assert "  normal    the first loss depends on model, template and data" in "\n".join(explain_word("sft"))
    for method in methods().values():
        assert not (method.normal and method.first_loss)


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
