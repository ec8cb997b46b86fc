"""Checking values against the engine's argument table."""

from __future__ import annotations

from typing import Any

import pytest

from rlguide.engine.schema import Field, Schema

FIELDS = {
    name: Field(name, kinds, choices, None, "")
    for name, kinds, choices in (
        ("pref_beta", ("float",), ()),
        ("lora_rank", ("int",), ()),
        ("bf16", ("bool",), ()),
        ("eval_steps", ("float", "none"), ()),
        ("eval_strategy", ("str",), ("no", "steps", "epoch")),
        ("report_to", ("list", "none", "str"), ()),
        ("generation_config", (), ()),
    )
}
SCHEMA = Schema(FIELDS, ("qwen3",), {})


@pytest.mark.parametrize(
    "config",
    [
        {"pref_beta": 0.1},
        {"pref_beta": 1},
        {"lora_rank": 16},
        {"bf16": True},
        {"eval_steps": None},
        {"eval_strategy": "steps"},
        {"report_to": ["none"]},
        {"generation_config": object()},
    ],
)
def test_good_values(config: dict[str, Any]) -> None:
    assert SCHEMA.problems(config) == []


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"pref_bta": 0.1}, "did you mean pref_beta?"),
        ({"pref_beta": "0.1"}, "must be a number"),
        ({"pref_beta": True}, "must be a number"),
        ({"lora_rank": 16.5}, "must be a whole number"),
        ({"lora_rank": None}, "must be a whole number"),
        ({"bf16": 1}, "true or false"),
        ({"eval_strategy": "step"}, "did you mean steps?"),
        ({"eval_strategy": False}, "unless in quotes"),
        ({"report_to": {"a": 1}}, "a list or text"),
    ],
)
def test_bad_values(config: dict[str, Any], words: str) -> None:
    problems = SCHEMA.problems(config)
    assert len(problems) == 1
    assert words in problems[0]
