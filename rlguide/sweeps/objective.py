"""By which held-out figure the trials of a sweep are compared, and whether they can be compared at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlguide.catalog.best_by import LOSS_KEYS, best_keys, rule_of
from rlguide.catalog.methods import Method
from rlguide.errors import UsageError
from rlguide.recipes.prepare import Prepared
from rlguide.sweeps.space import words_of

# Of the held-out data of a training. `seed` draws the share that the engine itself holds out.
_HELD_OUT_KEYS = ("eval_dataset", "val_size", "max_samples", "template", "cutoff_len")


@dataclass(frozen=True)
class Objective:
    """The figure: "loss", "accuracy" or "margin" (`--best-by`), at the best step of a run by the same figure.

    Attributes:
        metric: its key in `metrics.jsonl`.
        is_greater: whether the greater value is the better one.
    """

    by: str
    metric: str
    is_greater: bool

    @property
    def words(self) -> str:
        """As a person reads it."""
        return f"held-out {self.by}"


def choose_objective(method: Method, by: str | None, swept: Sequence[str]) -> Objective:
    """The figure that is asked for; by default the loss, or the accuracy where the swept keys change the loss itself.

    A loss with another `pref_beta` or of another kind is another quantity, and so is a margin, which is `pref_beta`
    times a log-ratio; the share of pairs that are told apart is the same one for all.

    Raises:
        UsageError: the method has no such figure, or trials of different losses cannot be compared by it.
    """
    changing = [key for key in swept if key in LOSS_KEYS]
    if changing and by in ("loss", "margin"):
        raise UsageError(
            f"--best-by {by}: trials with another {changing[0]} minimise another loss, and their {by} is another"
            " quantity",
            f"compare them by the share of pairs told apart: --best-by accuracy, or do not sweep {changing[0]}",
        )
    if changing and by is None:
        if "accuracy" not in method.best_by:
            raise UsageError(
                f"trials with another {changing[0]} minimise another loss, and {method.name} logs no held-out accuracy"
                " by which they could be compared",
                f"do not sweep {changing[0]}: train each, then `rlguide compare` their responses",
            )
        by = "accuracy"
    rule = rule_of(best_keys(method, by))
    return Objective(by or "loss", rule.metric, rule.is_greater)


def check_comparable(trials: Sequence[tuple[Mapping[str, Any], Prepared]]) -> None:
    """Refuse trials that are not measured on the same held-out data, or on none.

    Args:
        trials: the swept settings, with what was prepared of them.

    Raises:
        UsageError: naming two of them.
    """
    (first_settings, first), *others = trials
    if not first.schedule.held_out or first.config.get("eval_strategy") in (None, "no"):
        raise UsageError(
            "nothing is evaluated on held-out data, so there is no figure to choose a trial by",
            "register pairs with --test-size, or hold out a share: --set val_size=0.1",
        )
    for settings, prepared in others:
        if _held_out(prepared) != _held_out(first):
            raise UsageError(
                f"the trials with {words_of(settings)} and with {words_of(first_settings)} are measured on different"
                " held-out data, so they cannot be compared",
                "name the same held-out pairs for all with --set eval_dataset=NAME, or do not sweep that key",
            )


def _held_out(prepared: Prepared) -> dict[str, Any]:
    config = prepared.config
    drawn = {key: config.get(key) for key in ("seed", "dataset")} if config.get("val_size") else {}
    return {**{key: config.get(key) for key in _HELD_OUT_KEYS}, **drawn}
