"""Evaluate a reward model on held-out pairs: how often it prefers the chosen response, and where it does not.

Two faults are looked for. A reward model that rewards length (Singhal et al. 2023, arXiv 2310.03716) is right where
the chosen response is the longer one, and wrong elsewhere. One that does not know when it is unsure is right as often
where its margin is small as where it is large, although a margin claims a probability of being right: sigmoid(margin),
by the model of Bradley and Terry that its loss is made of (arXiv 2203.02155, section 3.5).
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rlguide.engine.find import Engine
from rlguide.errors import UsageError
from rlguide.evaluation.config import HeldOut
from rlguide.evaluation.pairs import ESTIMATES, RESULT
from rlguide.evaluation.scoring import REWARDS, SCORES, figures_of, margin_of, score_rows
from rlguide.runs.best import evaluated_step
from rlguide.runs.record import Run
from rlguide.runs.verdict import judge
from rlguide.statistics import Estimate, Proportion, wins
from rlguide.workspace import Workspace, write_json

PARTS = ("pairs",)  # of a suite: the others ask a model for responses
ALIKE = 0.1  # the guide's: lengths count as about equal within this share of the longer one
CHANCE_LOSS = math.log(2)  # of a model that scores all responses alike
_TOKENS = ("chosen_tokens", "rejected_tokens")
_GROUPS = 4

Row = Mapping[str, float]


@dataclass(frozen=True)
class Group:
    """Held-out pairs that have something in common.

    Attributes:
        accuracy: share of its pairs whose chosen response has the higher score, ties as half, with the exact interval.
        claimed: mean of sigmoid(|margin|): how often the model itself expects to be right.
    """

    name: str
    accuracy: Proportion
    claimed: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "accuracy": self.accuracy.as_dict(), "claimed": self.claimed}


@dataclass(frozen=True)
class RewardEvaluation:
    """Held-out figures of a reward model.

    Attributes:
        accuracy: share of pairs whose chosen response has the higher score, ties as half, with the exact interval.
        ties: pairs whose responses have the same score.
        margin: chosen score minus rejected score.
        loss: -log sigmoid(margin); ln 2 if all responses are scored alike.
        by_length: pairs whose chosen response is "longer", "about equal" (within 10 %) or "shorter" than the rejected
            one, in tokens as the model reads them; without those of no pair.
        by_margin: quarters of the pairs by |margin|, the smallest first.
        notes: what could not be checked: parts of the stack that have no record of their training prompts.
        step: of the run.
    """

    run: str
    datasets: tuple[str, ...]
    pairs: int
    accuracy: Proportion
    ties: int
    margin: Estimate
    loss: Estimate
    chosen_reward: Estimate
    rejected_reward: Estimate
    by_length: tuple[Group, ...]
    by_margin: tuple[Group, ...]
    reward_model: str
    scores: str
    notes: tuple[str, ...] = ()
    step: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = dict(self.__dict__)
        for key in ESTIMATES:
            found[key] = found[key].as_dict()
        for key in ("by_length", "by_margin"):
            found[key] = [group.as_dict() for group in found[key]]
        return {**found, "length_unit": "tokens", "verdict": self.verdict}

    @property
    def verdict(self) -> str:
        """What the figures say."""
        skill = judge(self.accuracy, self.ties, is_reward_model=True)[1]
        if self.ties == self.pairs:
            return skill
        return "; ".join(filter(None, (skill, self._loss, self._length, self._certainty)))

    @property
    def _loss(self) -> str:
        if self.loss.low <= CHANCE_LOSS:
            return ""
        return (
            f"its loss is above that of scoring all alike ({CHANCE_LOSS:.4f}): its margins are too large where it errs"
            " (train fewer epochs or with a lower learning rate)"
        )

    @property
    def _length(self) -> str:
        groups = {group.name: group for group in self.by_length}
        longer, shorter = groups.get("longer"), groups.get("shorter")
        if longer is None or shorter is None:
            missing = "longer" if longer is None else "shorter"
            return f"whether it rewards length cannot be told: no chosen response is the {missing} one"
        where = (
            f"right in {_percent(longer)} of the pairs whose chosen response is longer, in {_percent(shorter)} of those"
            " where it is shorter"
        )
        if _is_above(longer, shorter):
            return f"it REWARDS LENGTH: {where} (train it on pairs registered with --balance-length)"
        if _is_above(shorter, longer):
            return f"it rewards brevity: {where} (train it on pairs registered with --balance-length)"
        return f"not shown that it rewards length: {where} (the intervals overlap)"

    @property
    def _certainty(self) -> str:
        if len(self.by_margin) < _GROUPS:
            return ""
        least, most = self.by_margin[0], self.by_margin[-1]
        where = (
            f"right in {_percent(most)} of the quarter with the largest margins, in {_percent(least)} of that with the"
            " smallest"
        )
        if _is_above(most, least):
            return f"it knows when it is unsure: {where}"
        if _is_above(least, most):
            return f"it errs most where it is SUREST: {where}"
        return f"not shown that it knows when it is unsure: {where} (the intervals overlap)"


def _percent(group: Group) -> str:
    return f"{group.accuracy.value * 100:.1f} %"


def _is_above(upper: Group, lower: Group) -> bool:
    """Whether the intervals do not overlap. Pairs that are all ties show nothing."""
    are_decided = all(group.accuracy.hits or group.accuracy.value != 0.5 for group in (upper, lower))
    return are_decided and upper.accuracy.low > lower.accuracy.high


def check_wanted(run: Run, parts: Sequence[str], datasets: Sequence[str], more: str) -> None:
    """Refuse what only a model that writes responses has.

    Raises:
        UsageError: `parts` of a suite other than pairs, or an option that asks for `more`.
    """
    unfit = [part for part in parts if part not in PARTS]
    if not unfit and not more:
        return
    command = f"rlguide eval {shlex.quote(run.name)}"
    if datasets:
        command += f" --dataset {shlex.quote(','.join(datasets))}"
    what = f"--suite {','.join(unfit)}" if unfit else more
    raise UsageError(
        f"{what} asks for responses, and {run.name} is a reward model, which writes none",
        f"evaluate it on pairs: `{command}`",
    )


def score(ws: Workspace, engine: Engine, run: Run, held_out: HeldOut) -> RewardEvaluation:
    """Score pairs with a reward model: its whole stack and its value head.

    Writes what `score_rows` writes, and `<run>/eval/result.json`.

    Raises:
        DataError, EngineError: as `score_rows`.
    """
    rows = score_rows(ws, engine, run, held_out, (*REWARDS, *_TOKENS))
    result = evaluation(run, held_out, rows)
    write_json(run.path / "eval" / RESULT, result.as_dict())
    return result


def evaluation(run: Run, held_out: HeldOut, rows: Sequence[Row]) -> RewardEvaluation:
    """What the scores of pairs come to; each row has the numbers of `rlguide_worker/score_pairs.py`."""
    return RewardEvaluation(
        run=run.name,
        datasets=tuple(held_out.names),
        **figures_of(rows),
        by_length=_by_length(rows),
        by_margin=_by_margin([margin_of(row) for row in rows]),
        reward_model=run.policy.describe(),
        scores=run.file(f"eval/{SCORES}"),
        notes=held_out.notes,
        step=evaluated_step(run),
    )


def _by_length(rows: Sequence[Row]) -> tuple[Group, ...]:
    def is_alike(row: Row) -> bool:
        chosen, rejected = (row[name] for name in _TOKENS)
        return abs(chosen - rejected) <= ALIKE * max(chosen, rejected)

    kinds: dict[str, Callable[[Row], bool]] = {
        "longer": lambda row: not is_alike(row) and row["chosen_tokens"] > row["rejected_tokens"],
        "about equal": is_alike,
        "shorter": lambda row: not is_alike(row) and row["chosen_tokens"] < row["rejected_tokens"],
    }
    groups = ((name, [margin_of(row) for row in rows if holds(row)]) for name, holds in kinds.items())
    return tuple(_group(name, margins) for name, margins in groups if margins)


def _by_margin(margins: Sequence[float]) -> tuple[Group, ...]:
    ordered = sorted(margins, key=abs)
    bounds = [len(ordered) * part // _GROUPS for part in range(_GROUPS + 1)]
    parts = [ordered[begin:end] for begin, end in pairwise(bounds) if begin < end]
    return tuple(_group(f"{abs(part[0]):.4g} to {abs(part[-1]):.4g}", part) for part in parts)


def _group(name: str, margins: Sequence[float]) -> Group:
    accuracy, _ = wins(margins)
    claimed = math.fsum(1 / (1 + math.exp(-abs(margin))) for margin in margins) / len(margins)
    return Group(name, accuracy, claimed)
