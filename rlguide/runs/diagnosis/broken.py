"""Rules on trainings that break: not a number, a wrong reference, a loss that rises, a gradient that explodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean, median

from rlguide.runs.diagnosis.first_step import first_loss, wrong_start
from rlguide.runs.diagnosis.logs import Logs
from rlguide.runs.diagnosis.seen import Seen

# Figures that are part of the training; logits are not, some methods sum them over the vocabulary.
_TRAINED = ("loss", "grad_norm", "kl", "reward", "sft_loss", "odds_ratio_loss", "accuracy")
_TRAINED_GROUPS = ("rewards/", "logps/")


def nan(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A loss, a reward or a norm that is no number.

    The engine logs the mean of the other steps in place of a loss that is none (logging_nan_inf_filter), so that the
    norm of the gradient often is what shows it.
    """
    is_fp16 = bool(logs.config.get("fp16"))
    scaled = {step for step, key, _, _ in logs.not_finite if key == "grad_norm"} if is_fp16 else set()
    for step, key, value, is_train in logs.not_finite:
        name = key.removeprefix("eval_")
        if name not in _TRAINED and not name.startswith(_TRAINED_GROUPS):
            continue
        if is_fp16 and key == "grad_norm" and is_train and not _in_a_row(logs, scaled, step, int(at["fp16_in_a_row"])):
            continue
        advice = "lower the learning rate"
        settings = None
        if is_fp16:
            advice = "train in bf16, whose range is that of float32, or lower the learning rate"
            settings = {"fp16": False, "bf16": True}
        said = "not a number" if math.isnan(value) else "infinite"
        return Seen(step, {"key": key, "value": said, "step": step, "advice": advice}, settings)
    return None


def _in_a_row(logs: Logs, bad: set[int], step: int, count: int) -> bool:
    steps = sorted({int(row["step"]) for row in logs.train})
    following = [other for other in steps if other >= step][:count]
    return len(following) == count and bad.issuperset(following)


def reference(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A first step that is not that of a policy which equals its reference."""
    first = next((row for row in logs.train if row["step"] == 1), None)
    found = wrong_start(logs.config, first) if first is not None else None
    return None if found is None else Seen(1, found)


def diverged(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A training loss that lies, or lay, above its start, over enough rows to be no accident of a batch."""
    if logs.method is not None and logs.method.stage == "ppo":
        return None  # whose loss is against a moving baseline, and says nothing
    losses, width = logs.points("loss"), len(logs.tail(at["pairs"], int(at["logs"])))
    if width < at["logs"] or len(losses) <= width or losses[0][0] > logs.total / 4 > 0:
        return None
    means = [
        (losses[end - 1][0], fmean(value for _, value in losses[end - width : end]))
        for end in range(width + 1, len(losses) + 1)
    ]
    first = first_loss(logs.config)
    step, worst = max(means, key=lambda point: point[1])
    if first is None:  # it depends on the examples: no window but the last is compared with the first ones
        step, worst = means[-1]
        some = max(1, min(width, len(losses) // 4))
        is_plain = worst > at["much"] * losses[0][1] > 0
        first = losses[0][1] if is_plain else fmean(value for _, value in losses[:some])
    if first <= 0 or worst <= at["times"] * first:
        return None
    return Seen(step, {"first": first, "last": worst, "times": worst / first, "step": step})


def gradient(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """Norms of the gradient that stay far above what is usual; a single one is clipped and does no harm."""
    points = logs.points("grad_norm")[-int(at["logs"]) :]
    if len(points) < at["fewest"]:
        return None
    norm = median(value for _, value in points)
    if norm <= at["norm"] * _scale_of_loss(logs):
        return None
    step = points[-1][0]
    kind = next((key for key in ("fp16", "bf16", "pure_bf16") if logs.config.get(key)), "")
    precision = {
        "fp16": "In fp16 it overflows next: bf16 has the range of float32",
        "": "In float32 it is no matter of precision",
    }.get(kind, "In bf16 it does not overflow, so that nothing but this shows it")
    return Seen(step, {"norm": norm, "logs": len(points), "step": step, "precision": precision})


def _scale_of_loss(logs: Logs) -> float:
    """How much larger a sound gradient may be than at a beta of 0.1, for a beta within its usual range of 0.01 to 0.5.

    At the start the derivative of IPO's loss by the log-ratio is -1 / beta, that of DPO's is -beta / 2.
    """
    if logs.method is None or not logs.method.has_reference or logs.beta <= 0:
        return 1.0
    return min(10.0, max(1.0, 0.1 / logs.beta)) if logs.loss == "ipo" else min(5.0, max(1.0, logs.beta / 0.1))
