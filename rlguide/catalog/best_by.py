"""By which held-out figure the best step of a training is known: `metric_for_best_model` of its config.

It is transformers' own key (TrainingArguments), so that a config says the rule wherever it is trained. Without it the
rule is the lowest held-out loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlguide.catalog.methods import Method
from rlguide.errors import UsageError, did_you_mean

BEST_BY = ("loss", "accuracy", "margin")
METRIC, GREATER = "metric_for_best_model", "greater_is_better"
_HELD_OUT = "eval_"
# Keys that say what the loss is: between trainings that differ in one of them neither losses nor margins mean the same.
# LLaMA-Factory 0.9.5, hparams/finetuning_args.py; label_smoothing_factor is of transformers' TrainingArguments.
LOSS_KEYS = (
    "pref_loss",
    "pref_beta",
    "pref_ftx",
    "pref_bco_weight",
    "simpo_gamma",
    "dpo_label_smoothing",
    "ld_alpha",
    "kto_chosen_weight",
    "kto_rejected_weight",
    "label_smoothing_factor",
)


@dataclass(frozen=True)
class Rule:
    """The rule: `metric`, a key of a held-out log ("eval_loss"), and whether the greater value is the better one."""

    metric: str
    is_greater: bool = False

    @property
    def words(self) -> str:
        """As a person reads it: "held-out loss"."""
        name = self.metric.removeprefix(_HELD_OUT)
        known = {"rewards/accuracies": "accuracy", "rewards/margins": "margin"}
        return f"held-out {known.get(name, name)}"


def rule_of(config: Mapping[str, Any]) -> Rule:
    """The rule of a training config, as transformers reads its keys (4.57, TrainingArguments.__post_init__)."""
    metric = config.get(METRIC)
    if not isinstance(metric, str) or not metric:
        return Rule(f"{_HELD_OUT}loss")
    key = metric if metric.startswith(_HELD_OUT) else _HELD_OUT + metric
    greater = config.get(GREATER)
    return Rule(key, greater if isinstance(greater, bool) else not metric.endswith("loss"))


def loss_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config says which loss it minimises; equal for trainings whose losses and margins can be compared."""
    return {key: config[key] for key in LOSS_KEYS if config.get(key) is not None}


def best_keys(method: Method, by: str | None) -> dict[str, Any]:
    """The keys of a config for `--best-by`; none for the loss, which is the rule without them.

    Raises:
        UsageError: no such rule, or the method has no such figure.
    """
    if by is None:
        return {}
    known = {"loss": "loss", **method.best_by}
    if by not in known:
        why = (
            f"{method.name} logs no held-out {by}"
            if by in BEST_BY
            else f"no figure {by}{did_you_mean(by, list(known))}"
        )
        raise UsageError(f"--best-by {by}: {why}", f"choose {' or '.join(known)}")
    return {} if by == "loss" else {METRIC: known[by], GREATER: True}
