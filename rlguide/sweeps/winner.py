"""Which trial wins, how sure that is, and what choosing the best of many is worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from rlguide.console import say, warn
from rlguide.errors import RlguideError
from rlguide.evaluation.held_out import why_not_evaluable
from rlguide.evaluation.scoring import SCORES, margin_of, read_rows
from rlguide.runs.manage.accuracy import evaluated_figure, shown_step
from rlguide.runs.record import open_run
from rlguide.statistics import Estimate, paired, paired_share
from rlguide.sweeps.conduct import How
from rlguide.sweeps.process import run_to_end
from rlguide.sweeps.sweep import Sweep
from rlguide.sweeps.trials import Trial, plain, rank
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class Winner:
    """The best trial beside the next one.

    Attributes:
        trial, next: the best and the second best by the objective; `next` is None where only one can win.
        figure: the objective of the winner on the held-out pairs with its interval; None where it was not measured.
        difference: winner minus next, on the same pairs, of the objective; positive where the winner is better.
        pairs: on which that was measured; 0 where it was not.
        chosen_from: trials that could have won.
        luck: how much the best of so many equally good trials looks better than it is, on average, in the unit of the
            figure; None where that is not known.
    """

    trial: Trial
    next: Trial | None
    figure: Estimate | None
    difference: Estimate | None
    pairs: int
    chosen_from: int
    luck: float | None

    @property
    def is_distinguishable(self) -> bool | None:
        """Whether the winner is better than the next by more than chance; None where it is not known."""
        return None if self.difference is None else self.difference.low > 0

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run": self.trial.run,
            "number": self.trial.number,
            "settings": dict(self.trial.settings),
            "value": self.trial.value,
            "best_step": self.trial.best_step,
            "figure": plain(self.figure),
            "next": self.next.run if self.next is not None else None,
            "difference": plain(self.difference),
            "distinguishable": self.is_distinguishable,
            "pairs": self.pairs,
            "chosen_from": self.chosen_from,
            "luck": self.luck,
        }


def evaluate_best(ws: Workspace, sweep: Sweep, trials: Sequence[Trial], how: How) -> None:
    """Run `rlguide eval` on the two best trials, where it was not, so that each pair's rewards are known.

    What cannot be evaluated is said, and left out.
    """
    for trial in rank(trials, sweep.objective)[:2]:
        run = open_run(ws, trial.run)
        if evaluated_figure(run, "accuracy", shown_step(run)) is not None or why_not_evaluable(ws, run):
            continue
        log = ws.root / f"{trial.run}.eval.log"
        say(f"evaluating {trial.run} on the held-out pairs")
        variables = {"CUDA_VISIBLE_DEVICES": how.slots[0]} if how.slots[0] else {}
        resumed = [word for word in how.resumed if word == "--trust-remote-code"]
        code = run_to_end(["eval", trial.run, "--suite", "pairs", *resumed, *how.beside], ws.root, log, variables)
        if code:
            warn(f"{trial.run} could not be evaluated: see {ws.relative(log)}")


def winner_of(ws: Workspace, sweep: Sweep, trials: Sequence[Trial]) -> Winner | None:
    """The best trial, and how it differs from the next; None where no trial can win."""
    ranked = rank(trials, sweep.objective)
    if not ranked:
        return None
    best, after = ranked[0], ranked[1] if len(ranked) > 1 else None
    figure = _figure(ws, sweep, best)
    difference = _difference(ws, sweep, best, after) if after is not None else None
    return Winner(
        best,
        after,
        figure,
        difference,
        0 if difference is None else difference.n,
        len(ranked),
        None if figure is None else luck_of(len(ranked), figure),
    )


def luck_of(trials: int, figure: Estimate) -> float | None:
    """By how much the best of so many equally good trials looks better than it is, on average.

    The expected largest of n normal values, in standard errors: Blom's approximation (G. Blom, Statistical Estimates
    and Transformed Beta-Variables, 1958). It takes the trials as measured on pairs of their own; on the same pairs they
    vary together, and it is less: an upper limit.
    """
    error = (figure.high - figure.low) / (2 * NormalDist().inv_cdf(0.975))
    if trials < 2 or not math.isfinite(error):
        return None if not math.isfinite(error) else 0.0
    return NormalDist().inv_cdf((trials - 0.375) / (trials + 0.25)) * error


def _figure(ws: Workspace, sweep: Sweep, trial: Trial) -> Estimate | None:
    run = open_run(ws, trial.run)
    found = evaluated_figure(run, sweep.objective.by, shown_step(run))
    return trial.accuracy if found is None and sweep.objective.by == "accuracy" else found


def _difference(ws: Workspace, sweep: Sweep, best: Trial, after: Trial) -> Estimate | None:
    """How much better the best is, pair by pair; None where their rewards are not known of the same pairs."""
    rows = [_rows(ws, trial) for trial in (after, best)]
    if None in rows:
        return None
    before, new = (found for found in rows if found is not None)
    if len(before) != len(new) or [_texts(row) for row in before] != [_texts(row) for row in new]:
        return None
    if sweep.objective.by == "loss":
        return paired([-row["loss"] for row in before], [-row["loss"] for row in new])
    margins, better = ([margin_of(row) for row in found] for found in (before, new))
    if sweep.objective.by == "margin":
        return paired(margins, better)
    return paired_share([margin > 0 for margin in margins], [margin > 0 for margin in better])


def _rows(ws: Workspace, trial: Trial) -> list[dict[str, Any]] | None:
    """The rewards of each pair at the best step; None where they were not measured there."""
    run = open_run(ws, trial.run)
    if evaluated_figure(run, "accuracy", shown_step(run)) is None:
        return None
    try:
        return read_rows(run.path / "eval" / SCORES)
    except RlguideError:
        return None


def _texts(row: Mapping[str, Any]) -> tuple[Any, Any]:
    return row.get("chosen"), row.get("rejected")
