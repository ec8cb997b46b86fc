"""Rules that need held-out data: overfitting, labels that are noise, labels that are the wrong way round."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean

from rlguide.runs.diagnosis.logs import Logs, mean_of, number, smooth
from rlguide.runs.diagnosis.seen import Seen
from rlguide.runs.metrics import ACCURACIES
from rlguide.statistics import Proportion, proportion


def overfitted(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A held-out loss above its lowest, while the training loss has fallen since."""
    points = smooth(logs.points("eval_loss", logs.held_out))
    if len(points) < 3:
        return None
    best, lowest = min(points[:-1], key=lambda point: point[1])
    step, last = points[-1]
    rows = rows_evaluated(logs.held_out[-1])
    rise = max(at["rise"], at["by_chance"] / math.sqrt(rows) if rows else at["rise"])
    rises = lowest > 0 and last > (1 + rise) * lowest
    if not rises or points[-2][1] <= (1 + rise / 2) * lowest:  # one evaluation alone is no trend
        return None
    then, now = _training_loss(logs, best), mean_of(logs.tail(), "loss")
    if then is None or now is None or now >= then:
        return None
    values = {"best": best, "lowest": lowest, "last": last, "step": step, "train_then": then, "train_now": now}
    return Seen(step, values, _shorter(logs, best))


def _training_loss(logs: Logs, step: int) -> float | None:
    """The training loss about a step."""
    near = sorted((row for row in logs.train if "loss" in row), key=lambda row: abs(row["step"] - step))
    return mean_of(near[: len(logs.tail())], "loss")


def _shorter(logs: Logs, step: int) -> dict[str, float]:
    """The setting that ends a training about a step."""
    epoch = next((row["epoch"] for row in logs.held_out if row["step"] == step and row.get("epoch", 0) > 0), None)
    limit = logs.config.get("max_steps")
    if epoch is None or (isinstance(limit, int) and limit > 0):
        return {"max_steps": step}
    return {"num_train_epochs": round(epoch, 2)}


def memorised(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A margin on training pairs that is several times the one on held-out pairs."""
    rows = logs.tail(128)
    ours = mean_of(rows, "rewards/margins")
    theirs = mean_of(logs.held_out[-1:], "eval_rewards/margins")
    if logs.part < at["part"] or ours is None or theirs is None or ours < at["least"] or theirs <= 0:
        return None
    if ours < at["times"] * theirs:
        return None
    return Seen(logs.step, {"ours": ours, "theirs": theirs, "times": ours / theirs, "step": logs.step})


def rows_evaluated(row: Mapping[str, float]) -> int | None:
    """How many rows an evaluation was about, from its own speed; None where it does not say it."""
    count = row.get("eval_runtime", 0.0) * row.get("eval_samples_per_second", 0.0)
    return round(count) if count >= 1 else None


def held_out_accuracy(logs: Logs) -> Proportion | None:
    """The accuracy of the last evaluations, with its interval; None if it, or of how many pairs it is, is not known.

    The same pairs are evaluated each time, so that a mean over evaluations is no more certain than one of them.
    """
    rows = [row for row in logs.held_out if any(key in row for key in ACCURACIES) and row["step"] >= logs.step * 0.6]
    count = rows_evaluated(rows[-1]) if rows else None
    if count is None or any(row.get("eval_rewards/margins") == 0 for row in rows):  # ties count as lost
        return None
    values = [row[key] for row in rows[-3:] for key in ACCURACIES if key in row]
    accuracy = min(1.0, max(0.0, fmean(values)))
    return proportion(round(accuracy * count), count)


def noise(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A held-out accuracy whose interval holds one half and nothing that is much better."""
    found, method = held_out_accuracy(logs), logs.method
    if found is None or logs.part < at["part"] or not found.low <= 0.5 <= found.high < at["high"]:
        return None
    if method is not None and method.stage == "dpo" and not method.has_reference:
        # It begins where the likelihoods of the responses are, which may be anywhere: only what was learnt counts.
        trained = mean_of(logs.tail(128), "rewards/accuracies")
        if trained is None or trained < at["trained"]:
            return None
    values = {"accuracy": found.value, "low": found.low, "high": found.high, "rows": found.n, "step": logs.step}
    return Seen(logs.step, values)


def swapped(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A policy that comes to prefer the rejected responses of held-out pairs, and the chosen ones of its training."""
    rows = number(logs.facts.data.get("rows"))
    if logs.part < 0.5 or 0 < rows < at["rows"]:
        return None
    found = held_out_accuracy(logs)
    said = _wrong_accuracy(logs, found, at) if found is not None else _wrong_margin(logs, at)
    if not said:
        return None
    return Seen(logs.step, {"seen": f"{said} at step {logs.step}"})


def _wrong_accuracy(logs: Logs, found: Proportion, at: Mapping[str, float]) -> str:
    if found.high >= at["accuracy"]:
        return ""
    trained = mean_of(logs.tail(128), "rewards/accuracies")
    if trained is not None and trained <= 0.5:
        return ""
    key = next(key for key in ACCURACIES if any(key in row for row in logs.held_out))
    before = logs.points(key, logs.held_out)[0][1]
    reference_free = logs.method is None or not logs.method.has_reference
    if reference_free and logs.method is not None and logs.method.stage != "rm" and found.value >= before:
        return ""  # without a reference the responses may differ in likelihood from the start
    how = f", {trained:.2f} of the training pairs" if trained is not None else ""
    return (
        f"the chosen response is preferred in {found.value:.2f} of {found.n} held-out pairs "
        f"(95 % {found.low:.2f} to {found.high:.2f}){how}"
    )


def _wrong_margin(logs: Logs, at: Mapping[str, float]) -> str:
    """Of KTO, which logs no accuracy: the margins have different signs."""
    ours = mean_of(logs.tail(128), "rewards/margins")
    margins = logs.points("eval_rewards/margins", logs.held_out)
    has_accuracy = any(key in row for row in logs.held_out for key in ACCURACIES)
    if ours is None or len(margins) < 2 or ours <= 0 or has_accuracy:
        return ""
    first, last = margins[0][1], margins[-1][1]
    if last >= at["margin"] * ours or last >= first:
        return ""
    return f"the margin is {ours:+.3f} on training data and {last:+.3f} on held-out data"
