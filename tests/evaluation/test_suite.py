"""The table of a suite."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.errors import EngineError, UsageError
from rlguide.evaluation.divergence import summarize
from rlguide.evaluation.lines import Line, lines_of_pairs, read_line
from rlguide.evaluation.over_checkpoints import Point, best, logged_margins, verdict
from rlguide.evaluation.suite import Suite, wanted
from rlguide.statistics import Estimate, paired, proportion


@pytest.mark.parametrize(
    ("text", "parts", "size"),
    [
        ("quick", None, "quick"),
        ("full", None, "full"),
        (None, None, None),
        ("pairs", ("pairs",), None),
        ("kl, length,kl", ("kl", "length"), None),
        ("instructions,full", ("instructions",), "full"),
    ],
)
def test_a_suite_names_parts_or_a_size(text: str | None, parts: tuple[str, ...] | None, size: str | None) -> None:
    assert wanted(text) == (parts, size)


@pytest.mark.parametrize("text", ["", ",", "pears", "pairs,pears"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        wanted(text)
    assert "quick or usual or full" in refused.value.fix


@pytest.mark.parametrize(
    ("low", "high", "goal", "is_better"),
    [(0.1, 0.2, "more", True), (-0.2, -0.1, "more", False), (-0.1, 0.2, "more", None), (-0.2, -0.1, "less", True)],
)
def test_better_is_what_the_interval_says(low: float, high: float, goal: str, is_better: bool | None) -> None:
    line = Line("x", 0.0, 0.0, Estimate((low + high) / 2, low, high, 9), goal, "normal")
    assert line.is_better is is_better
    assert Line("x", 0.0, 0.0, line.difference, "", "normal").is_better is None


def test_the_verdict_says_more_or_fewer() -> None:
    def suite(low: float, high: float) -> str:
        difference = Estimate((low + high) / 2, low, high, 300)
        return Suite("run", [Line("English instructions", 0.2, 0.3, difference, "more", "bootstrap")]).verdict

    assert suite(0.05, 0.15) == "follows 10.0 points more English instructions"
    assert suite(-0.15, -0.05) == "follows 10.0 points FEWER English instructions"
    assert suite(-0.05, 0.15) == "follows about as many English instructions"


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_a_paired_interval_holds_its_value_and_is_repeatable(answers: list[tuple[bool, bool]]) -> None:
    before, after = ([float(pair[side]) for pair in answers] for side in (0, 1))
    found = paired(before, after, resamples=200)
    assert found == paired(before, after, resamples=200)
    assert (found.low <= found.value + 1e-9 and found.value <= found.high + 1e-9) or len(answers) < 9
    back = paired(after, before, resamples=200)
    assert back.value == pytest.approx(-found.value)


def test_a_paired_interval_covers_the_truth() -> None:
    """95 of 100 intervals should; at least 85 of 100 here, by chance alone hardly fewer than 88."""
    import random

    draw, held = random.Random(1), 0
    for _ in range(100):
        before = [float(draw.random() < 0.3) for _ in range(80)]
        after = [float(draw.random() < 0.45) for _ in range(80)]
        found = paired(before, after, resamples=300)
        held += found.low <= 0.15 <= found.high
    assert held >= 85


def test_the_best_checkpoint_follows_most_within_the_limit() -> None:
    def point(step: int, kl: float, hits: int) -> Point:
        return Point(step, kl, proportion(hits, 100), None)

    points = [point(2, 0.1, 30), point(4, 2.0, 40), point(6, 1.0, 40), point(8, 12.0, 60)]
    assert best(points) == points[2]
    assert verdict(points) == "best: checkpoint-6, which follows 40.0 % of the instructions at 1.00 nats per response"
    assert best(points[3:]) is None
    assert "further than 10 nats" in verdict(points[3:])


def test_margins_are_those_logged_at_the_step() -> None:
    rows = [
        {"step": 2, "loss": 0.5},
        {"step": 2, "eval_rewards/margins": 0.25},
        {"step": "x", "eval_rewards/margins": 1},
    ]
    assert logged_margins(rows) == {2: 0.25}


ROW = {"index": 0, "tokens": 4, "kl": 2.0, "log_ratio": 1.0, "is_whole": True, "text": "x"}


def test_the_divergence_of_an_answer_and_of_a_token() -> None:
    found = summarize([ROW, {**ROW, "tokens": 2, "kl": 4.0, "is_whole": False}])
    assert (found.response.value, found.token.value, found.prompts, found.tokens, found.cut) == (3.0, 1.25, 2, 3.0, 1)
    assert "within 10 nats" in found.verdict and "1 of 2 responses were cut" in found.verdict
    assert "far from its reference" in summarize([{**ROW, "kl": 12.0}] * 3).verdict
    assert "nothing was learnt" in summarize([{**ROW, "kl": 0.0}] * 3).verdict


@pytest.mark.parametrize("rows", [[], [{}], [{**ROW, "kl": float("nan")}], [{**ROW, "tokens": None}]])
def test_unusable_rows_are_an_error(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(EngineError):
        summarize(rows)


numbers = st.floats(-1e6, 1e6)
estimates = st.builds(
    lambda value, low, high, n: Estimate(value, value - low, value + high, n),
    *(numbers, st.floats(0, 1e6), st.floats(0, 1e6) | st.just(math.inf), st.integers(0, 10**6)),
)
lines = st.builds(
    Line,
    *(st.text(max_size=5), numbers, numbers, estimates, st.sampled_from(["more", "less", ""])),
    *(st.just("normal"), st.integers(0, 9), st.text(max_size=3)),
)


@given(lines)
def test_a_line_is_read_back_from_its_file(line: Line) -> None:
    assert read_line(json.loads(json.dumps(line.as_dict()))) == line


@pytest.mark.parametrize("name", ["KL per response", "KL per token", "length of responses"])
def test_figures_of_an_earlier_rlguide_have_their_names_of_now(name: str) -> None:
    earlier = name.replace("per response", "an answer").replace("per token", "a token").replace("responses", "answers")
    line = Line(name, 0.1, 0.2, Estimate(0.1, 0.0, 0.2, 3), "", "normal")
    assert earlier != name and read_line({**line.as_dict(), "name": earlier}) == line


def test_a_line_without_an_interval_is_read_back_without() -> None:
    bare = Line("x", 0.1, 0.2, Estimate(0.1, -math.inf, math.inf, 3), "more", "")
    document = json.loads(json.dumps(bare.as_dict()))
    assert document["difference"]["ci95_low"] is None
    assert read_line(document) == bare


@pytest.mark.parametrize(
    "change",
    [{"parent": None}, {"tuned": True}, {"tuned": math.nan}, {"name": 1}, {"difference": {}}, {"parent": 10**400}],
)
def test_what_is_no_line_is_none(change: dict[str, Any]) -> None:
    line = Line("x", 0.1, 0.2, Estimate(0.1, 0.0, 0.2, 3), "more", "normal")
    assert read_line({**line.as_dict(), **change}) is None
    assert read_line([]) is None


def test_lines_of_pairs_are_measured_from_the_reference() -> None:
    figures = {"loss": Estimate(0.5, 0.4, 0.6, 8), "accuracy": Estimate(0.75, 0.6, 0.9, 8)}
    accuracy, loss = lines_of_pairs(figures, 0.7)
    assert (accuracy.parent, accuracy.difference) == (0.5, Estimate(0.25, 0.6 - 0.5, 0.9 - 0.5, 8))
    assert (loss.name, loss.parent, loss.goal, loss.is_better) == ("loss", 0.7, "less", True)
    assert [line.name for line in lines_of_pairs(figures, None)] == ["reward accuracy"]
