"""Rules on trainings that learn nothing, or hardly begin to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean

from rlguide.runs.diagnosis.logs import Logs, mean_of, number, standard_error
from rlguide.runs.diagnosis.seen import Seen

CHANCE = math.log(2)  # the loss of a reward model that scores all responses alike


def nothing_learnt(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A policy that still equals its reference."""
    if logs.method is None or not logs.method.has_reference or logs.part < at["part"] or logs.step < at["steps"]:
        return None
    found = [(logs.held_out[-1:], "eval_"), (logs.tail(), "")]  # over many pairs what differs may cancel out
    rewards = [
        mean_of([_sizes(row) for row in rows], f"{prefix}rewards/{side}")
        for rows, prefix in found
        for side in ("chosen", "rejected")
    ]
    known = [reward for reward in rewards if reward is not None]
    loss = mean_of(logs.tail(), "loss")
    if not known or loss is None:
        return None
    largest = max(known) / logs.beta if logs.beta > 0 else 0.0
    limit = at["per_token"] if logs.loss == "ipo" else at["log_ratio"]
    if largest > limit:
        return None
    cause, advice, settings = _why_nothing(logs, largest)
    unit = "token" if logs.loss == "ipo" else "response"
    values = {"log_ratio": largest, "loss": loss, "step": logs.step, "unit": unit, "cause": cause, "advice": advice}
    return Seen(logs.step, values, settings)


def _sizes(row: Mapping[str, float]) -> dict[str, float]:
    return {key: abs(value) for key, value in row.items()}


def _why_nothing(logs: Logs, largest: float) -> tuple[str, str, Mapping[str, float] | None]:
    rate = number(logs.config.get("learning_rate"), 5e-5)
    if logs.beta <= 0:
        return "with a beta of 0 no pair has any weight", "set beta to 0.1", {"pref_beta": 0.1}
    if rate <= 0:
        return "the learning rate is 0", "set a learning rate", {"learning_rate": 5e-6}
    if largest == 0:
        why = "nothing that is trained reaches the output: a frozen or detached adapter, or updates too small to count"
        return why, "look at what is trained (finetuning_type, lora_target), then raise the learning rate", None
    return (
        "the learning rate is too low, or gradients are clipped away (max_grad_norm)",
        "raise the learning rate",
        None,
    )


def loss_not_falling(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A loss that stays, of a method whose rewards do not say whether the policy moves."""
    method = logs.method
    if method is None or method.has_reference or method.stage == "ppo" or logs.part < at["share"]:
        return None
    points = logs.points("eval_loss", logs.held_out)
    if len(points) < 2:
        return _training_loss(logs, at)
    values = [value for _, value in points]
    is_steady = max(values) - min(values) <= at["part"] * abs(values[0])
    return _stays(points[-1][0], "held-out", values[0], values[-1]) if is_steady else None


def _stays(step: int, which: str, first: float, last: float) -> Seen:
    return Seen(step, {"which": which, "first": first, "last": last, "step": step})


def rm_at_chance(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A reward model that moves, and is no better than one that scores all responses alike, not even in training."""
    values = [value for _, value in logs.points("eval_loss", logs.held_out)]
    train = mean_of(logs.train[len(logs.train) // 2 :], "loss")
    if logs.method is None or logs.method.stage != "rm" or logs.part < at["share"] or not values or train is None:
        return None
    if min(values) < at["of_chance"] * CHANCE or train < at["of_chance"] * CHANCE:
        return None
    return Seen(logs.step, {"lowest": min(values), "train": train, "chance": CHANCE, "step": logs.step})


def _training_loss(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    losses = [value for _, value in logs.points("loss")]
    some = len(losses) // 3
    if len(losses) < at["logs"]:
        return None
    first, last = losses[:some], losses[-some:]
    noise = (standard_error(first) ** 2 + standard_error(last) ** 2) ** 0.5
    if fmean(last) < fmean(first) + at["standard_errors"] * noise:
        return None
    return _stays(logs.step, "training", fmean(first), fmean(last))


def warmup(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A warm-up that takes most of the run."""
    total = logs.total
    if total <= 0 or logs.config.get("lr_scheduler_type") == "constant":
        return None
    steps = number(logs.config.get("warmup_steps"))
    steps = steps if steps > 0 else number(logs.config.get("warmup_ratio")) * total
    if steps <= at["share"] * total:
        return None
    reached = f"reaches {total / steps:.0%} of its value" if steps > total else "is at its value only at the end"
    return Seen(None, {"warmup": round(steps), "total": round(total), "reached": reached})
