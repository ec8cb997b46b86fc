"""When a merged model is its stack, by the scores of both; the scores themselves are in tests/e2e/test_export.py."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlguide.policy.merge_compare import TOLERANCES, TRAINED_TOLERANCES, Differ, verdict

INF, NAN = math.inf, math.nan
Scores = dict[str, list[dict[str, Any]]]


def scores(**merged: Any) -> Scores:
    """Two prompts, scored alike, but for what `merged` says of the second one."""
    row = {"tokens": [1, 2, 3], "logps": [-1.0, -2.0], "greedy": [7, 8, 9], "gaps": [0.5, 0.5, 0.5]}
    return {"trained": [row, row], "stack": [row, row], "merged": [row, {**row, **merged}]}


def test_the_same_scores_are_the_same_model() -> None:
    found = verdict(scores(), "float32")
    assert (found.difference, found.trained_difference, found.prompts, found.tokens) == (0.0, 0.0, 2, 4)


@pytest.mark.parametrize("dtype", sorted(TOLERANCES))
def test_a_difference_within_the_tolerance_passes_and_one_above_is_refused(dtype: str) -> None:
    allowed = TOLERANCES[dtype]
    assert verdict(scores(logps=[-1.0, -2.0 - 0.9 * allowed]), dtype).difference == pytest.approx(0.9 * allowed)
    for off in (1.1 * allowed, -1.1 * allowed):
        with pytest.raises(Differ, match=f"allowed in {dtype}"):
            verdict(scores(logps=[-1.0, -2.0 + off]), dtype)


@pytest.mark.parametrize("dtype", sorted(TRAINED_TOLERANCES))
def test_the_model_in_training_counts_too(dtype: str) -> None:
    found = scores()
    found["trained"] = [{**row, "logps": [-1.0, -2.0 - 1.1 * TRAINED_TOLERANCES[dtype]]} for row in found["trained"]]
    with pytest.raises(Differ, match="from those in training"):
        verdict(found, dtype)


def test_an_unknown_type_gets_the_widest_tolerance() -> None:
    assert verdict(scores(), "auto").tolerance == max(TOLERANCES.values())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"logps": [-1.0, NAN]}, "it gives no number"),
        ({"logps": [-1.0, -INF]}, "up to inf nats"),
        ({"logps": [-1.0, INF]}, "up to inf nats"),
        ({"logps": [-1.0]}, "other tokens"),
        ({"logps": [-1.0, -2.0, -3.0]}, "other tokens"),
        ({"tokens": [1, 2, 4]}, "other tokens"),
        ({"greedy": [7, 6, 9]}, "prompt 2 of 2"),
        ({"greedy": [7, 8]}, "prompt 2 of 2"),
        ({"greedy": []}, "prompt 2 of 2"),
    ],
)
def test_what_is_another_model(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Differ, match=words):
        verdict(scores(**changes), "float32")


def changed(model: str, **values: Any) -> Callable[[Scores], None]:
    def change(found: Scores) -> None:
        found[model] = [{**row, **values} for row in found[model]]

    return change


def test_a_stack_that_gives_no_number_is_refused_and_equal_infinities_are_equal() -> None:
    found = scores()
    for model in found:
        changed(model, logps=[-1.0, -INF])(found)
    assert verdict(found, "float32").difference == 0.0
    changed("stack", logps=[-1.0, NAN])(found)
    with pytest.raises(Differ, match="the stack itself"):
        verdict(found, "float32")


def test_another_token_after_a_near_tie_is_no_other_model() -> None:
    gap = 2 * TOLERANCES["float32"]
    for size, is_refused in ((0.9 * gap, False), (1.1 * gap, True), (NAN, True)):
        found = scores(greedy=[7, 6, 5])  # what follows answers to another beginning
        changed("stack", gaps=[0.5, size, 0.5])(found)
        if is_refused:
            with pytest.raises(Differ, match="greedy"):
                verdict(found, "float32")
        else:
            verdict(found, "float32")


def test_incomplete_scores_are_no_verdict() -> None:
    for model in ("trained", "stack", "merged"):
        found = scores()
        del found[model]
        with pytest.raises(KeyError):
            verdict(found, "float32")
    with pytest.raises(TypeError):
        verdict({"trained": [], "stack": [], "merged": []}, "float32")
    found = scores()
    found["merged"].pop()
    with pytest.raises(Differ, match="1 of 2 prompts"):
        verdict(found, "float32")


def test_the_prompts_are_of_several_kinds() -> None:
    worker = Path(__file__).resolve().parents[2] / "rlguide_worker"
    show = "import json, match_logits; print(json.dumps(match_logits.PROMPTS))"
    done = subprocess.run([sys.executable, "-c", show], cwd=worker, capture_output=True, text=True, check=True)
    prompts = json.loads(done.stdout)
    assert len(prompts) == 20
    turns = [turn for turn, _ in prompts]
    assert any(turn[0].startswith("system: ") for turn in turns)
    assert max(map(len, turns)) >= 3
    assert all((len(turn) - turn[0].startswith("system: ")) % 2 == 1 for turn in turns)  # the user speaks last
    assert sum(not turn[0].isascii() for turn in turns) >= 4
