"""What is counted in a response, in English and Chinese."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rlguide.conversation import Response
from rlguide.evaluation.comparison.measures import apart, measure, repetition, switched_to
from rlguide.evaluation.comparison.refusals import is_refusal

ENGLISH = (
    "The old harbour lies behind a row of narrow houses, where fishermen mended nets until the railway came in 1874."
)
CHINESE = "旧港口在一排狭窄房屋后面，从前渔民常坐那里修补网具，直到铁路通车。"


@given(st.integers(4, 30), st.integers(2, 12))
def test_what_is_said_several_times_is_counted_exactly(words: int, times: int) -> None:
    """Of m words that differ, k times: k m - 3 four-grams, m of which are unique."""
    english = " ".join(f"w{number}" for number in range(words))
    chinese = "".join(chr(0x4E00 + number) for number in range(words))
    for text in (" ".join([english] * times), chinese * times):
        assert repetition(text) == pytest.approx(1 - words / (words * times - 3))
    assert repetition(english) == repetition(chinese) == 0


@pytest.mark.parametrize("once", [ENGLISH, CHINESE, "a", "哈", "- ", "一二三四五。"])
def test_a_loop_is_one_in_any_script(once: str) -> None:
    prompt = [{"role": "user", "content": once}]
    assert measure(prompt, Response(once * 400, "length")).loops
    assert not measure(prompt, Response(once, "stop")).loops


def test_a_short_list_is_no_loop() -> None:
    assert not measure([], Response("no, no, no, no!", "stop")).loops
    assert not measure([], Response("哈哈哈哈哈哈", "stop")).loops


@pytest.mark.parametrize(
    ("prompt", "response", "language"),
    [
        ("How do I boil an egg?", "把鸡蛋放进沸水里煮十分钟，然后放入冷水。", "zh"),
        ("How do I boil an egg?", "Put the egg in boiling water for ten minutes.", ""),
        ("How do I boil an egg?", f"Put the egg in boiling water for ten minutes.\n\n{CHINESE}", "zh"),
        ("怎么煮鸡蛋？请告诉我。", "Put the egg in boiling water and then cool it down.", "en"),
        ("怎么煮鸡蛋？请告诉我。", CHINESE, ""),
        ("怎么煮鸡蛋？请告诉我。", f"{CHINESE}\n\n{ENGLISH}", "en"),
        ("Translate into Chinese: I like the river in spring.", "我喜欢春天的河流，它总是那么美丽。", ""),
        ("把下面这句话翻译成英文：我喜欢春天的河流。", "I like the river in spring.", ""),
        ("用 Python 写一个排序函数，谢谢你。", "```python\n# this is the sorted list of all of the values\n```", ""),
        ("How do I boil an egg?", "鸡蛋", "zh"),
        ("How do I boil an egg?", "42", ""),
        ("42", "把鸡蛋放进沸水里煮十分钟，然后放入冷水。", ""),
    ],
)
def test_a_language_that_nobody_asked_for(prompt: str, response: str, language: str) -> None:
    assert switched_to([{"role": "user", "content": prompt}], response) == language


def test_the_system_prompt_may_ask_for_a_language() -> None:
    asked = [
        {"role": "system", "content": "Always answer in Chinese."},
        {"role": "user", "content": "How are you today?"},
    ]
    assert switched_to(asked, CHINESE) == ""
    assert switched_to(asked[1:], CHINESE) == "zh"
    assert switched_to([], CHINESE) == ""


def test_how_good_the_patterns_of_refusals_are() -> None:
    """The figures that catalog/refusals.yaml states."""
    labelled = yaml.safe_load(Path(__file__).with_name("refusals.yaml").read_text(encoding="utf-8"))
    found = {kind: sum(map(is_refusal, texts)) for kind, texts in labelled.items()}
    assert {kind: len(texts) for kind, texts in labelled.items()} == {"refusals": 40, "others": 40}
    assert found == {"refusals": 35, "others": 3}


def test_empty_and_cut() -> None:
    found = [measure([], Response(text, ended)) for text, ended in ((" \n", "stop"), ("", "length"), ("x", "stopped"))]  # type: ignore[arg-type]
    assert [item.empty for item in found] == [True, True, False]
    assert [item.cut for item in found] == [False, True, False]
    assert measure([], Response("three words 两字", "stop")).length == 4


texts = st.text(st.characters(codec="utf-8"), max_size=40)


@given(st.lists(texts, min_size=2, max_size=3), texts)
def test_what_is_counted_is_within_its_range(some: list[str], prompt: str) -> None:
    assert 0 <= apart(some) <= 1
    assert apart([some[0]] * len(some)) == 0
    found = measure([{"role": "user", "content": prompt}], Response(some[0], "stop"))
    assert 0 <= found.repetition < 1 and found.length >= 0


def test_apart() -> None:
    assert apart(["a b", "c d"]) == apart(["春天", "秋夜"]) == 1
    assert apart(["a b", "b c"]) == apart(["春天", "天空"]) == 0.5
    assert apart(["a b", "a b", "c"]) == 1
