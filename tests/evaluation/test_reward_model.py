"""What the scores of a reward model come to: accuracy by length and by its own margin, and the verdict."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rlguide.errors import UsageError
from rlguide.evaluation.config import HeldOut
from rlguide.evaluation.reward_model import RewardEvaluation, check_wanted, evaluation
from rlguide.policy.run_record import RecordedReference, RunRecord
from rlguide.runs.record import Run
from rlguide.statistics import exact_proportion

RECORD = RunRecord(
    method="rm",
    base="b",
    stack=("sft", "my rm"),
    reference=RecordedReference("b", ("sft",)),
    config={"stage": "rm"},
    status="finished",
)
RUN = Run(Path("my rm"), "my rm", RECORD)


def found(*pairs: tuple[float, int, int]) -> RewardEvaluation:
    """The evaluation of pairs of margin, tokens of the chosen and tokens of the rejected response."""
    rows = [
        {
            "chosen_reward": 1.0 + margin,
            "rejected_reward": 1.0,
            "loss": math.log1p(math.exp(-margin)),
            "chosen_tokens": chosen,
            "rejected_tokens": rejected,
        }
        for margin, chosen, rejected in pairs
    ]
    return evaluation(RUN, HeldOut({"eval_dataset": "a_test"}, len(rows), ("a note",)), rows)


def test_the_figures() -> None:
    result = found((2.0, 5, 5), (0.0, 5, 5), (-1.0, 5, 5), (1.0, 5, 5))
    assert (result.accuracy.value, result.ties, result.pairs) == (2.5 / 4, 1, 4)
    assert (result.margin.value, result.chosen_reward.value, result.rejected_reward.value) == (0.5, 1.5, 1.0)
    assert result.loss.value == pytest.approx(sum(math.log1p(math.exp(-m)) for m in (2, 0, -1, 1)) / 4)
    said = result.as_dict()
    assert (said["run"], said["reward_model"], said["notes"]) == ("my rm", "b + sft + my rm", ("a note",))
    assert said["by_length"] == [said["by_length"][0]] and said["by_length"][0]["name"] == "about equal"


def test_each_pair_is_in_one_group_of_length() -> None:
    """A tenth of the longer response is about equal, more is not."""
    result = found((1.0, 100, 90), (-1.0, 90, 100), (1.0, 100, 89), (-1.0, 89, 100), (1.0, 89, 100))
    groups = {group.name: (group.accuracy.n, group.accuracy.value) for group in result.by_length}
    assert groups == {"about equal": (2, 0.5), "longer": (1, 1.0), "shorter": (2, 0.5)}
    expected = exact_proportion(1, 2)
    shorter = result.by_length[-1].accuracy
    assert (shorter.low, shorter.high) == (expected.low, expected.high)


def test_quarters_by_the_size_of_the_margin() -> None:
    """Every pair is in one; what it claims is the mean of its probabilities of being right."""
    margins = [0.1, -0.2, 0.3, -0.4, 0.5, 0.6, 0.7, -0.8, 0.9, 1.0]
    result = found(*((margin, 5, 5) for margin in reversed(margins)))
    assert [group.accuracy.n for group in result.by_margin] == [2, 3, 2, 3]
    assert [group.accuracy.hits for group in result.by_margin] == [1, 2, 2, 2]
    assert [group.name for group in result.by_margin] == ["0.1 to 0.2", "0.3 to 0.5", "0.6 to 0.7", "0.8 to 1"]
    claimed = [1 / (1 + math.exp(-size)) for size in (0.1, 0.2)]
    assert result.by_margin[0].claimed == pytest.approx(sum(claimed) / 2)
    assert [group.accuracy.n for group in found((1.0, 5, 5), (2.0, 5, 5)).by_margin] == [1, 1]


LONGER, SHORTER = (20, 10), (10, 20)


def of(right: int, wrong: int, lengths: tuple[int, int], margin: float = 1.0) -> list[tuple[float, int, int]]:
    return [(margin, *lengths)] * right + [(-margin, *lengths)] * wrong


def test_it_rewards_length_where_the_intervals_are_apart() -> None:
    biased = found(*of(38, 2, LONGER), *of(12, 28, SHORTER)).verdict
    assert "REWARDS LENGTH: right in 95.0 % of the pairs whose chosen response is longer, in 30.0 % of those" in biased
    assert "--balance-length" in biased
    assert "it rewards brevity" in found(*of(38, 2, SHORTER), *of(12, 28, LONGER)).verdict
    fair = found(*of(30, 10, LONGER), *of(28, 12, SHORTER)).verdict
    assert "not shown that it rewards length" in fair and "overlap" in fair
    few = found(*of(4, 0, LONGER), *of(2, 2, SHORTER)).verdict
    assert "not shown that it rewards length" in few


def test_pairs_that_are_all_ties_show_nothing() -> None:
    assert "not shown that it rewards length" in found(*of(40, 0, LONGER), *of(5, 0, SHORTER, 0.0)).verdict
    assert "scores all pairs alike" in found(*of(9, 0, LONGER, 0.0)).verdict


def test_length_cannot_be_told_without_both_kinds() -> None:
    assert "no chosen response is the shorter one" in found(*of(9, 1, LONGER)).verdict
    assert "no chosen response is the longer one" in found(*of(9, 1, (10, 10)), *of(9, 1, SHORTER)).verdict


def test_whether_it_knows_when_it_is_unsure() -> None:
    def verdict(small: tuple[int, int], large: tuple[int, int]) -> str:
        middle = of(12, 12, LONGER, 1.0)
        return found(*of(*small, LONGER, 0.1), *middle, *of(*large, SHORTER, 3.0)).verdict

    assert "it knows when it is unsure: right in 100.0 % of the quarter with the largest" in verdict((5, 7), (12, 0))
    assert "it errs most where it is SUREST" in verdict((12, 0), (0, 12))
    assert "not shown that it knows when it is unsure" in verdict((7, 5), (8, 4))


def test_the_verdict_on_accuracy_and_loss() -> None:
    assert "prefers the chosen responses" in found(*of(9, 0, LONGER)).verdict
    assert "prefers the REJECTED responses" in found(*of(0, 9, LONGER)).verdict
    assert "no clear preference" in found(*of(3, 1, LONGER)).verdict
    assert "(1 ties count as half)" in found((0.0, 5, 5), *of(9, 0, LONGER)).verdict
    overconfident = found(*of(30, 10, LONGER, 9.0))
    assert overconfident.loss.low > math.log(2)
    assert "above that of scoring all alike (0.6931)" in overconfident.verdict
    assert "scoring all alike" not in found(*of(30, 10, LONGER)).verdict


def test_what_asks_for_responses_is_refused() -> None:
    check_wanted(RUN, ("pairs",), [], "")
    with pytest.raises(UsageError) as refused:
        check_wanted(RUN, ("pairs", "kl", "length"), ["a_test", "b"], "")
    assert refused.value.what == "--suite kl,length asks for responses, and my rm is a reward model, which writes none"
    assert refused.value.fix == "evaluate it on pairs: `rlguide eval 'my rm' --dataset a_test,b`"
    for option in ("--over-checkpoints", "--tasks"):
        with pytest.raises(UsageError, match=f"{option} asks for responses"):
            check_wanted(RUN, ("pairs",), [], option)
