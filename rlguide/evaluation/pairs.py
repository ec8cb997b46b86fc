"""Evaluate on held-out pairs: reward accuracy, margin and loss of a policy against its SFT reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlguide.engine.find import Engine
from rlguide.evaluation.config import HeldOut, held_out_pairs
from rlguide.evaluation.scoring import SCORES, figures_of, score_rows
from rlguide.runs.best import evaluated_step
from rlguide.runs.diagnosis.first_step import first_loss
from rlguide.runs.record import EVALUATED, Run
from rlguide.runs.verdict import above_reference, judge, near_reference
from rlguide.statistics import Estimate
from rlguide.workspace import Workspace, write_json

RESULT = EVALUATED.name
ESTIMATES = ("accuracy", "margin", "loss", "chosen_reward", "rejected_reward")


@dataclass(frozen=True)
class Evaluation:
    """Held-out figures of a policy against its reference.

    Attributes:
        accuracy: share of pairs whose chosen response has the higher reward, ties as half, with the exact interval.
        ties: pairs whose responses have the same reward.
        margin: chosen reward minus rejected reward, in units of pref_beta x nats.
        loss: the preference loss.
        loss_of_reference: what it would be if the policy were its reference (ln 2 with sigmoid); None if unknown.
        chosen_reward, rejected_reward: pref_beta x log(policy / reference) of each response.
        notes: what could not be checked: parts of the stack that have no record of their training prompts.
        step: of the run.
    """

    run: str
    datasets: tuple[str, ...]
    pairs: int
    accuracy: Estimate
    ties: int
    margin: Estimate
    loss: Estimate
    loss_of_reference: float | None
    chosen_reward: Estimate
    rejected_reward: Estimate
    policy: str
    reference: str
    scores: str
    notes: tuple[str, ...] = ()
    step: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        plain = {key: value for key, value in self.__dict__.items() if key not in ESTIMATES}
        return {**plain, **{key: found.as_dict() for key, found in self.estimates.items()}, "verdict": self.verdict}

    @property
    def estimates(self) -> dict[str, Estimate]:
        """The figures that have an interval, by name."""
        return {key: getattr(self, key) for key in ESTIMATES}

    @property
    def verdict(self) -> str:
        """What the figures say, in a sentence or two."""
        worse = self.loss_of_reference is not None and self.loss.low > self.loss_of_reference
        harm = above_reference(self.loss_of_reference or 0.0) if worse else ""
        return judge(self.accuracy, self.ties, harm, near_reference(self.loss.value, self.loss_of_reference))[1]


def evaluate(ws: Workspace, engine: Engine, run: Run, datasets: list[str], settings: Mapping[str, Any]) -> Evaluation:
    """Score the held-out pairs with the run's whole stack against its reference, as `score`.

    Raises:
        UsageError, CheckpointError, DataError, EngineError: as `held_out_pairs` and `score`.
    """
    return score(ws, engine, run, held_out_pairs(ws, engine, run, datasets, settings))


def score(ws: Workspace, engine: Engine, run: Run, held_out: HeldOut) -> Evaluation:
    """Score pairs with the run's whole stack against its reference.

    Writes what `score_rows` writes, and `<run>/eval/result.json`.

    Raises:
        DataError, EngineError: as `score_rows`.
    """
    result = _evaluation(run, held_out, score_rows(ws, engine, run, held_out))
    write_json(run.path / "eval" / RESULT, result.as_dict())
    return result


def _evaluation(run: Run, held_out: HeldOut, rows: Sequence[Mapping[str, float]]) -> Evaluation:
    return Evaluation(
        run=run.name,
        datasets=tuple(held_out.names),
        **figures_of(rows),
        loss_of_reference=first_loss({"stage": "dpo", **held_out.config}),
        policy=run.policy.describe(),
        reference=run.reference.describe(),
        scores=run.file(f"eval/{SCORES}"),
        notes=held_out.notes,
        step=evaluated_step(run),
    )
