"""What a sweep varies is read strictly, and read back as it was."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.engine.config_file import parse_settings
from rlguide.engine.schema import Field, Schema
from rlguide.errors import UsageError
from rlguide.sweeps.notation import parse_axes
from rlguide.sweeps.space import (
    Choices,
    Range,
    corners,
    for_engine,
    grid_points,
    middle,
    settings_of,
)

NUMBERS = st.integers(-(10**9), 10**9) | st.floats(-1e30, 1e30)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="\"'\\#"), min_size=1)


def test_the_command_lines_of_the_guide() -> None:
    axes = parse_axes("grid", ["pref_beta=0.05,0.1,0.3", "learning_rate=1e-6,5e-6"])
    assert axes == (Choices("pref_beta", (0.05, 0.1, 0.3)), Choices("learning_rate", (1e-6, 5e-6)))
    axes = parse_axes(
        "search", ["pref_beta=0.01:0.5:log", "learning_rate=1e-7:1e-5:log", "lora_rank=8,16,32", "seed=1:9"]
    )
    assert axes[0] == Range("pref_beta", 0.01, 0.5, is_log=True)
    assert axes[2:] == (Choices("lora_rank", (8, 16, 32)), Range("seed", 1, 9, is_whole=True))


@given(st.lists(NUMBERS | st.booleans() | TEXTS, min_size=1, max_size=5))
def test_values_are_read_as_set_reads_them_and_go_to_the_trial_as_they_are(values: list[Any]) -> None:
    said = [setting.partition("=")[2] for setting in settings_of(dict(enumerate(values)))]
    quoted = [text if "," not in text and ":" not in text else None for text in said]
    if None in quoted or any("\n" in text or any(mark in text for mark in "，、：＝") for text in said):
        return
    try:
        (axis,) = parse_axes("grid", [f"key={','.join(said)}"])
    except UsageError as error:
        kinds = [(value, isinstance(value, bool)) for value in values]
        assert "twice" in error.what and any(kinds.count(kind) > 1 for kind in kinds)
        return
    assert isinstance(axis, Choices) and list(axis.values) == values
    read = parse_settings(settings_of(dict(zip(map(str, range(99)), axis.values, strict=False))))
    assert list(read.values()) == values and list(map(type, read.values())) == list(map(type, values))


@given(NUMBERS, NUMBERS, st.booleans())
def test_ranges_are_read_back(low: float, high: float, is_log: bool) -> None:
    text = f"key={low!r}:{high!r}{':log' * is_log}"
    if low >= high or (is_log and low <= 0):
        with pytest.raises(UsageError):
            parse_axes("search", [text])
        return
    (axis,) = parse_axes("search", [text])
    assert isinstance(axis, Range) and (axis.low, axis.high, axis.is_log) == (low, high, is_log)
    assert axis.is_whole == (isinstance(low, int) and isinstance(high, int))
    assert low <= axis.middle <= high


@given(st.text(max_size=40), st.sampled_from(["grid", "search"]))
def test_whatever_is_typed_is_read_or_refused_in_two_lines(text: str, kind: str) -> None:
    for said in (text, f"pref_beta={text}"):
        try:
            (axis,) = parse_axes(kind, [said])
        except UsageError as error:
            assert error.what and error.fix
        else:
            assert axis.ends and all(isinstance(end, str | int | float | None) for end in axis.ends)
            assert all(math.isfinite(end) for end in axis.ends if isinstance(end, float))


@pytest.mark.parametrize(
    ("kind", "text", "says"),
    [
        ("grid", "pref_beta=0.05，0.1", "full-width"),
        ("search", "pref_beta=0.01：0.5", "full-width"),
        ("grid", "pref_beta＝0.1", "full-width"),
        ("grid", "pref_beta", "not KEY=VALUES"),
        ("grid", "=1,2", "not KEY=VALUES"),
        ("grid", "pref_beta=", "not KEY=VALUES"),
        ("grid", "pref_beta=0.1,,0.2", "missing"),
        ("grid", "pref_beta=0.1,0.10", "twice"),
        ("grid", "pref_beta=0.1:0.5", "no ranges"),
        ("grid", "pref_beta=[1,2]", "cannot be read"),
        ("grid", "pref_beta=nan,0.1", ""),
        ("grid", "pref_beta=.nan,0.1", "no single value"),
        ("search", "pref_beta=0.5:0.1", "not below"),
        ("search", "pref_beta=0:0.1:log", "logarithm"),
        ("search", "pref_beta=0.1:0.5:lin", "not a range"),
        ("search", "pref_beta=a:b", "not a range"),
        ("search", "pref_beta=1e-1:1e999", "not a range"),
        ("grid", "output_dir=a,b", "cannot be swept"),
        ("grid", "eval_dataset=a,b", "different pairs"),
    ],
)  # fmt: skip
def test_slips_are_refused(kind: str, text: str, says: str) -> None:
    if not says:  # text that looks like a number to a person is checked by the engine's schema
        assert parse_axes(kind, [text])
        return
    with pytest.raises(UsageError) as caught:
        parse_axes(kind, [text])
    assert says in caught.value.what


def test_what_the_fix_for_full_width_marks_says_is_read() -> None:
    with pytest.raises(UsageError) as caught:
        parse_axes("grid", ["pref_beta=0.05，0.1"])
    assert parse_axes("grid", [caught.value.fix.removeprefix("write --grid ")]) == (Choices("pref_beta", (0.05, 0.1)),)


def test_a_key_twice_and_a_grid_of_too_many_are_refused() -> None:
    with pytest.raises(UsageError, match="given twice"):
        parse_axes("grid", ["a=1", "a=2"])
    many = ",".join(map(str, range(40)))
    with pytest.raises(UsageError, match="1,600 trials"):
        parse_axes("grid", [f"a={many}", f"b={many}"])


def test_a_grid_has_every_combination_once() -> None:
    points = grid_points(parse_axes("grid", ["a=1,2", "b=x,y,z"]))
    assert [tuple(point.values()) for point in points] == list(product((1, 2), ("x", "y", "z")))


def test_the_corners_hold_every_value_and_both_ends() -> None:
    axes = parse_axes("search", ["a=1,2,3", "b=0.1:0.5", "c=x"])
    found = corners(axes)
    assert len(found) == 3
    for axis in axes:
        assert {point[axis.key] for point in found} == set(axis.ends)
    assert middle(parse_axes("search", ["a=1e-7:1e-5:log"]))["a"] == pytest.approx(1e-6)


SCHEMA = Schema(
    {
        "pref_beta": Field("pref_beta", ("float",), (), 0.1, ""),
        "lora_rank": Field("lora_rank", ("int",), (), 8, ""),
        "pref_loss": Field("pref_loss", ("str",), ("sigmoid", "hinge"), "sigmoid", ""),
        "warmup_steps": Field("warmup_steps", ("int", "float"), (), 0, ""),
    },
    (),
    {},
)


def test_the_schema_of_the_engine_decides_what_is_whole() -> None:
    axes = for_engine(parse_axes("search", ["pref_beta=1:2", "lora_rank=8:64", "warmup_steps=1:9"]), SCHEMA, "search")
    assert [getattr(axis, "is_whole", None) for axis in axes] == [False, True, True]
    for text, says in (
        ("pref_bta=0.1,0.2", "did you mean pref_beta"),
        ("lora_rank=0.5:64", "whole number"),
        ("lora_rank=8,x", "must be a whole number"),
        ("pref_loss=1:2", "no range"),
        ("pref_loss=sigmoid,sigmod", "did you mean sigmoid"),
    ):
        with pytest.raises(UsageError) as caught:
            for_engine(parse_axes("search", [text]), SCHEMA, "search")
        assert says in caught.value.what
