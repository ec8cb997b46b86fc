"""Rules on policies that go too far: margins that run away, likelihoods that collapse, pairs that are too easy."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rlguide.runs.diagnosis.first_step import first_loss
from rlguide.runs.diagnosis.logs import Logs, mean_of, number
from rlguide.runs.diagnosis.seen import Seen


def over_optimised(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """Training pairs that are all told apart, with a margin that leaves nothing to learn."""
    method, tail = logs.method, logs.tail(at["pairs"])
    if method is None or method.stage not in ("dpo", "rm", "kto") or logs.pairs_in(tail) < at["pairs"]:
        return None
    step = logs.step
    margin, accuracy = mean_of(tail, "rewards/margins"), mean_of(tail, "rewards/accuracies")
    if method.stage == "rm":  # it logs neither; its loss is -log sigmoid(margin)
        loss = mean_of(tail, "loss")
        if loss is None or loss > math.log1p(math.exp(-at["margin"])):
            return None
        return Seen(step, {"accuracy": 1.0, "what": f"loss of {loss:.2g}", "step": step})
    if margin is None or logs.loss in ("hinge", "ipo", "orpo"):
        return None  # losses that stop at a margin of their own, or of likelihoods
    enough = at["margin"]
    if logs.loss == "simpo":
        enough += number(logs.config.get("simpo_gamma"), 0.5)
    if method.stage == "kto":  # of two sides, each with a weight of its own
        enough, accuracy = 2 * enough, 1.0 if accuracy is None else accuracy
    if accuracy is None or accuracy < at["accuracy"] or margin < enough:
        return None
    return Seen(step, {"accuracy": accuracy, "what": f"margin of {margin:.3g}", "step": step})


def displacement(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """Chosen responses that are far less likely than under the reference.

    What the reference gives them follows from the same log: reward = beta x (log-probability - the reference's).
    """
    if logs.method is None or not logs.method.has_reference or logs.beta <= 0:
        return None
    rows, prefix = (logs.held_out[-1:], "eval_") if logs.held_out else (logs.tail(), "")
    now, reward = mean_of(rows, f"{prefix}logps/chosen"), mean_of(rows, f"{prefix}rewards/chosen")
    if now is None or reward is None:
        return None
    then = now - reward / logs.beta
    if then >= 0 or now / then < at["times"]:
        return None
    # one that has the SFT loss already needs smaller steps: the guide's, as for a KL divergence that runs away
    settings = {"learning_rate": {"times": 0.3}} if number(logs.config.get("pref_ftx")) > 0 else None
    return Seen(logs.step, {"times": now / then, "now": now, "then": then, "step": logs.step}, settings)


def simpo_degrades(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """The same of SimPO, which has no reference: against the start of the run."""
    if logs.loss != "simpo":
        return None
    points = logs.points("logps/chosen")
    now = mean_of(logs.tail(), "logps/chosen")
    if len(points) < 3 or points[0][0] > logs.total / 4 > 0 or now is None:
        return None
    then = points[0][1]
    if then >= 0 or now / then < at["times"]:
        return None
    return Seen(logs.step, {"times": now / then, "now": -now, "then": -then, "step": logs.step})


def solved_at_once(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A loss near 0 within the first steps."""
    method = logs.method
    if method is None or method.stage not in ("dpo", "kto", "rm") or logs.loss in ("orpo", "simpo", "ipo"):
        return None
    first = first_loss(logs.config) or (0.6931 if method.stage == "rm" else None)
    early = [row for row in logs.train if 1 < row["step"] <= at["steps"] and "loss" in row]
    if first is None or not early:
        return None
    row = early[-1]
    accuracy = row.get("rewards/accuracies")
    if row["loss"] > at["loss"] * first or (accuracy is not None and accuracy < at["accuracy"]):
        return None
    said = f" and the accuracy {accuracy:.2f}" if accuracy is not None else ""
    return Seen(int(row["step"]), {"loss": row["loss"], "accuracy": said, "step": int(row["step"])})
