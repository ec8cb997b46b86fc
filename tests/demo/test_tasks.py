"""The generator and the verifiers of the demo's instructions."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.demo import tasks
from rlguide.demo.tasks import INSTRUCTIONS, Task, follows, make_tasks, on_topic
from scripts.make_demo_data import bundled_files

KINDS = [(language, kind) for language in INSTRUCTIONS for kind in INSTRUCTIONS[language]]
DATA = Path(tasks.__file__).parent / "data"


def obeys(task: Task, answer: str) -> bool:
    return follows(task.language, task.kind, task.argument, answer)


@given(st.integers(0, 10**6), st.booleans())
def test_obeying_answers_pass_and_disobeying_ones_fail(seed: int, held_out: bool) -> None:
    rng = random.Random(seed)
    for task in make_tasks(seed, 2, held_out):
        chosen, rejected = tasks.obeying(task, rng), tasks.disobeying(task, rng, plain_share=rng.random())
        assert obeys(task, chosen), (task, chosen)
        assert not obeys(task, rejected), (task, rejected)
        assert on_topic(task.language, task.topics, chosen) and on_topic(task.language, task.topics, rejected)


def test_every_kind_is_asked_in_equal_number_when_held_out() -> None:
    made = make_tasks(5, 7, held_out=True)
    assert {kind: [(t.language, t.kind) for t in made].count(kind) for kind in KINDS} == dict.fromkeys(KINDS, 7)
    assert len({task.prompt for task in made}) == len(made)


@pytest.mark.parametrize(
    ("language", "kind", "argument", "good", "near_misses"),
    [
        ("en", "capitals", "", ["TEA AND MILK."], ["TEA AND milk.", "Tea", "123", "", "红茶和牛奶"]),
        (
            "en",
            "count",
            "three",
            ["tea, milk and soda, no: cat, dog", '["cat", "dog", "tea"]'],
            ["tea and milk", "tea"],
        ),
        ("en", "count", "two", ["Tea and milk.", "- cat\n- dog"], ["tea, tea", "tea, milk, cat", "teas", ""]),
        ("en", "json", "", ['["a", "b"]'], ['["a"]', '["a", 1]', '{"a": "b"}', '["a", "b"', 'Sure: ["a", "b"]', "[]"]),
        ("en", "sentence", "", ["I like tea."], ["I like tea", "I like tea. And milk.", "I like.\ntea.", "."]),
        ("en", "numbered", "", ["1. a\n2. b", "1) a\n2) b"], ["1. a", "1. a\n3. b", "1. a\n2.", "a\nb", "2. a\n3. b"]),
        (
            "en",
            "bullets",
            "",
            ["- a\n- b", "* a\n* b"],
            ["- a", "- a\nb", "-\n- b", "a\nb", "- a\n\n- b", "- - a\n- b"],
        ),
        ("en", "start", "Well", ["Well, tea it is."], ["well, tea", "Wellness is tea", "Oh. Well, tea", "Well", ""]),
        (
            "zh",
            "brackets",
            "",
            ["【茶】【水】", "【茶】、【水】。"],
            ["【茶】", "【茶】水", "【茶】【】", "【茶【水】】", "茶"],
        ),
        ("zh", "count", "两", ["我会选苹果和桌子。"], ["我会选苹果。", "苹果、苹果", "苹果、桌子、小猫"]),
        ("zh", "sentence", "", ["我会选苹果。"], ["好。我会选苹果。", "我会选苹果", "我会选\n苹果。"]),
        ("zh", "start", "好的", ["好的，我会选苹果。"], ["好，我会选苹果。", "嗯，好的，苹果", "好的"]),
        ("zh", "json", "", ['["苹果", "桌子"]'], ["[“苹果”, “桌子”]", "['苹果', '桌子']"]),
        ("zh", "bullets", "", ["- 茶\n- 水"], ["茶\n水"]),
        ("zh", "numbered", "", ["1. 茶\n2. 水", "1、茶\n2、水"], ["1. 茶\n1. 水", "一、茶\n二、水"]),
    ],
)
def test_near_misses_are_refused(
    language: tasks.Language, kind: str, argument: str, good: list[str], near_misses: list[str]
) -> None:
    if kind == "count" and argument == "three":
        good = good[1:]  # the first names five things
        assert not follows(language, kind, argument, "tea, milk and soda, no: cat, dog")
    for answer in good:
        assert follows(language, kind, argument, answer), answer
    for answer in near_misses:
        assert not follows(language, kind, argument, answer), answer


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(KeyError):
        follows("zh", "capitals", "", "ABC")


@given(st.text(max_size=60), st.sampled_from(KINDS))
def test_verifiers_take_any_text(text: str, kind: tuple[tasks.Language, str]) -> None:
    argument = {"count": next(iter(tasks.NUMBERS[kind[0]])), "start": tasks.OPENINGS[kind[0]][0]}.get(kind[1], "")
    assert follows(*kind, argument, text) in (True, False)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_held_out_topics_never_stand_together_in_training(language: tasks.Language) -> None:
    train, held_out = (
        {frozenset(pair) for pair in tasks.topic_pairs(language, is_held_out)} for is_held_out in (False, True)
    )
    assert held_out and not train & held_out


def test_held_out_prompts_are_in_no_training_data() -> None:
    prompts = {pair.task.prompt for pair in tasks.pairs("heldout")}
    topics = {(pair.task.language, frozenset(pair.task.topics)) for pair in tasks.pairs("heldout")}
    seen = [task for name in ("base", "sft") for task, _ in tasks.examples(name)]
    seen += [pair.task for pair in tasks.pairs("pairs")]
    assert not prompts & {task.prompt for task in seen}
    assert not topics & {(task.language, frozenset(task.topics)) for task in seen}


@pytest.mark.parametrize("name", ["pairs", "heldout"])
def test_length_does_not_tell_chosen_from_rejected(name: str) -> None:
    rows = tasks.pairs(name)
    chosen, rejected = (sum(len(getattr(row, side)) for row in rows) for side in ("chosen", "rejected"))
    assert abs(chosen / rejected - 1) < 0.1


def test_about_half_of_the_sft_answers_follow() -> None:
    rows = tasks.examples("sft")
    share = sum(obeys(task, answer) for task, answer in rows) / len(rows)
    assert abs(share - tasks.OBEYING_SHARE["sft"]) < 0.05


def test_bundled_files_are_what_the_generator_gives() -> None:
    made = bundled_files()
    assert sorted(path.name for path in DATA.glob("*.jsonl")) == sorted(made)
    for name, rows in made.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        assert (DATA / name).read_bytes() == text.encode(), f"{name}: run scripts/make_demo_data.py"
    assert sum(path.stat().st_size for path in DATA.iterdir()) < 1_000_000
