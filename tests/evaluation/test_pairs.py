"""What the scores of pairs come to."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rlguide.errors import DataError
from rlguide.evaluation.config import HeldOut
from rlguide.evaluation.pairs import Evaluation, _evaluation
from rlguide.evaluation.scoring import check_finite
from rlguide.policy.run_record import RecordedReference, RunRecord
from rlguide.runs.record import Run

CONFIG = {"eval_dataset": "a_test,b_test", "pref_loss": "sigmoid", "pref_beta": 0.1}


def evaluation(margins: list[float], **config: object) -> Evaluation:
    record = RunRecord(
        base="b", stack=("sft", "run"), reference=RecordedReference("b", ("sft",)), config={}, status="x"
    )
    rows = [
        {"chosen_reward": margin, "rejected_reward": 0.0, "loss": math.log1p(math.exp(-margin))} for margin in margins
    ]
    return _evaluation(Run(Path("run"), "run", record), HeldOut({**CONFIG, **config}, len(rows), ()), rows)


def test_all_ties_are_half_and_nothing_was_learnt() -> None:
    found = evaluation([0.0] * 12)
    assert (found.accuracy.value, found.ties) == (0.5, 12)
    assert "nothing was learnt" in found.verdict
    assert found.datasets == ("a_test", "b_test")


def test_four_of_four_is_chance_and_six_of_six_is_not() -> None:
    assert "no clear preference" in evaluation([0.2] * 4).verdict
    assert "has learnt" in evaluation([0.2] * 6).verdict
    assert "REJECTED" in evaluation([-0.2] * 6).verdict


def test_a_loss_above_that_of_the_reference_is_said() -> None:
    found = evaluation([0.3] * 8 + [-6.0] * 12)
    assert found.loss_of_reference == pytest.approx(math.log(2))
    assert found.loss.low > math.log(2)
    assert "above the reference's (0.6931)" in found.verdict
    assert "above the reference's" in evaluation([0.3] * 30 + [-9.0] * 10).verdict
    assert evaluation([0.3] * 8, pref_loss="ipo").loss_of_reference == pytest.approx(25.0)
    unknown = evaluation([0.3] * 8, pref_ftx=0.5)
    assert unknown.loss_of_reference is None
    assert "has learnt" in unknown.verdict


def test_nan_is_an_error() -> None:
    with pytest.raises(DataError, match="NaN or infinity in the scores of 1 of 2 pairs"):
        check_finite([{"loss": float("nan")}, {"loss": 0.1}])
