"""No text of a page is missing in Chinese, and what is missing of what the code says is seen to be."""

from __future__ import annotations

import json
import re
import string
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.ext import extract_from_ast

from rlguide.catalog.diagnosis import diagnosis_rules
from rlguide.catalog.hyperparameters import hyperparameters
from rlguide.catalog.methods import methods
from rlguide.html.render import TEMPLATES, make_environment
from rlguide.html.words import LANGUAGES, Words, texts_of
from rlguide.recipes.render import load_recipe
from rlguide.runs.curves import _PANELS
from rlguide.runs.diagnosis.diagnose import diagnose
from rlguide.runs.diagnosis.logs import Facts

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from render_diagnosis import LOGS, rows_of

OTHERS = [language for language in LANGUAGES if language != "en"]
FIELD = re.compile(r"\{[^{}]*\}")
ADD = "add it to rlguide/html/{}.yaml"


def of_templates() -> set[str]:
    """Every text in _("...")."""
    environment, found = make_environment(Words("en")), set()
    for path in TEMPLATES.glob("*.html"):
        for _, _, text in extract_from_ast(environment.parse(path.read_text(encoding="utf-8")), ("_",)):
            found.add(text if isinstance(text, str) else text[0])
    return found


def of_settings() -> set[str]:
    """What is said of keys in the table of settings, and the titles of its sections."""
    recipes = [load_recipe(method) for method in methods()]
    of_recipes = {text for recipe in recipes for texts in (recipe.what, recipe.why) for text in texts.values()}
    of_catalog = {text for entry in hyperparameters().values() for text in (entry.what, entry.why) if text}
    return {*of_recipes, *of_catalog, *(title for recipe in recipes for title in recipe.sections)}


def of_curves() -> set[str]:
    """Titles of charts and labels of their lines."""
    labels = {label for _, keys in _PANELS for _, label in keys if label}
    titles = {title[:1].upper() + title[1:] for title, _ in _PANELS}
    return {*titles, *labels, *(f"{label}, held out" for label in labels), "training", "held out"}


@pytest.mark.parametrize("language", OTHERS)
def test_no_text_of_a_template_is_missing_or_left_over(language: str) -> None:
    texts = texts_of(language)["texts"]
    assert of_templates() - texts.keys() == set(), ADD.format(language)
    assert texts.keys() - of_templates() == set(), "no template has these any more"


@pytest.mark.parametrize("language", OTHERS)
def test_no_word_of_settings_and_curves_is_missing(language: str) -> None:
    words = Words(language)
    missing = {text for text in of_settings() | of_curves() if words.sentence(text) is None}
    assert missing == set(), ADD.format(language)
    assert texts_of(language)["settings"].keys() - of_settings() == set(), "nothing says these any more"


@pytest.mark.parametrize("language", OTHERS)
def test_no_word_of_a_diagnosis_is_missing(language: str) -> None:
    """A text with values is looked for with some in it, as a finding has it; one that is a value alone says nothing."""
    words = Words(language)
    texts = [text for rule in diagnosis_rules().values() for text in (rule.title, rule.seen, rule.means, rule.fix)]
    filled = {FIELD.sub("0.5", text) for text in texts if not FIELD.fullmatch(text)}
    assert {text for text in filled if words.sentence(text) is None} == set(), ADD.format(language)


@pytest.mark.parametrize("language", OTHERS)
def test_no_finding_of_a_recorded_run_is_left_in_english(language: str) -> None:
    words, missing, count = Words(language), set(), 0
    for path in LOGS.glob("*.json"):
        recorded = json.loads(path.read_text(encoding="utf-8"))
        facts = Facts(is_over=True, data=recorded["data"])
        for finding in diagnose(recorded["config"], rows_of(recorded), facts):
            count += 1
            missing |= {text for text in (finding.seen, finding.means, finding.fix) if words.sentence(text) is None}
    assert missing == set(), ADD.format(language)
    assert count > 30


@pytest.mark.parametrize("language", OTHERS)
def test_a_translation_has_the_values_of_its_english(language: str) -> None:
    for group in texts_of(language).values():
        for english, text in group.items():
            assert set(FIELD.findall(text)) == set(FIELD.findall(english)), english


def test_templates_look_up_what_they_say_themselves_only() -> None:
    for path in TEMPLATES.glob("*.html"):
        assert not re.search(r"(?<!\w)_\((?![\"'])", path.read_text(encoding="utf-8")), path.name


@pytest.mark.parametrize("language", OTHERS)
def test_a_sentence_with_values_is_found_and_keeps_them(language: str) -> None:
    words = Words(language)
    said = "the training loss fell from 2.0000 to 1.2000, and the held-out loss did not rise again"
    assert words.sentence(said) == "训练损失从 2.0000 降到 1.2000，留出集损失没有回升"
    assert words.sentence("whether it rewards length cannot be told: no chosen response is the longer one") == (
        "无法判断是否奖励长度：没有 chosen 回答是较长的"
    )
    assert words.sentence("the training loss fell from 2.0000") is None
    assert words.text("{low} to {high}", low="{high}", high="x") == "{high} 至 x"
    both = "the training loss fell from 2 to 1; nothing is learnt"
    assert words.sentence(both) == "训练损失从 2 降到 1；什么也没学到"
    inside = f"{both.partition(';')[0]} (accuracy 0.9 on 8 pairs, 0.5 to 1.0, by `rlguide eval`)"
    assert (
        words.sentence(inside) == "训练损失从 2 降到 1（8 个偏好对上的准确率 0.9，0.5 至 1.0，由 `rlguide eval` 测得）"
    )
    at_step = f"{inside[:-1]}, at step 20)"
    assert words.sentence(at_step) == (
        "训练损失从 2 降到 1（第 20 步，8 个偏好对上的准确率 0.9，0.5 至 1.0，由 `rlguide eval` 测得）"
    )
    assert words.sentence("the diagnosis has an error: loss is nan at step 3") == "诊断发现错误：第 3 步时 损失 nan"
    assert words.sentence("nothing is learnt; something of nobody") is None
    assert words.sentence("from here to there") is None  # texts of templates are no patterns for what the code says


@given(st.dictionaries(st.sampled_from(["first", "last"]), st.text(string.printable, min_size=1), min_size=2))
def test_any_value_is_kept(values: dict[str, str]) -> None:
    english = "the training loss fell from {first} to {last}".format(**values)
    found = Words("zh").sentence(english)
    assert found is not None and all(part in found for part in re.findall(r"[\w.]+", values["last"][-3:]))


def test_what_is_not_translated_is_shown_in_english_and_marked() -> None:
    source = '{% from "parts.html" import said %}{{ said(text) }}'
    shown = make_environment(Words("zh")).from_string(source).render(text="<b> `x` a sentence of nobody")
    assert shown == '<span class="untranslated" lang="en">&lt;b&gt; <code>x</code> a sentence of nobody</span>'
    assert make_environment(Words("en")).from_string(source).render(text="the `x`") == "the <code>x</code>"
    assert make_environment(Words("en")).from_string(source).render(text="a ` alone") == "a ` alone"
