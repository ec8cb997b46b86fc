"""Whether the first step shows that the reference is the starting policy; without one, whether the losses fell."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rlguide.catalog.methods import method_of

# The loss of the first step, when the policy still is the reference and every log-ratio is 0, by the name that
# catalog/methods.yaml gives it, of beta.
FORMULAS: dict[str, Callable[[float], float]] = {
    "ln 2": lambda beta: math.log(2),
    "1": lambda beta: 1.0,
    "1 / (4 beta^2)": lambda beta: 1 / (4 * beta**2),
    "1 / 2": lambda beta: 0.5,
}


OVERFITTED = 1.02  # times the lowest held-out loss; less is within what one evaluation differs from the next
LARGEST_LOG_RATIO = 0.1  # nats; measured: 0 on a CPU, 8.7 with the base as reference


@dataclass(frozen=True)
class StartCheck:
    """Whether the first logged step proves that the reference is the starting policy."""

    ok: bool
    message: str


@dataclass(frozen=True)
class Course:
    """Whether the losses of a run went as they must, in a sentence."""

    ok: bool
    message: str


def course(rows: Sequence[Mapping[str, float]]) -> Course | None:
    """How the losses of a run without a reference went, whose first loss proves nothing.

    Args:
        rows: its logs in order, each with its `step`.

    Returns:
        Whether the training loss fell, and the held-out loss did not rise again; None of fewer than two logs.
    """
    losses = [row["loss"] for row in rows if "loss" in row]
    some = max(1, len(losses) // 4)  # the loss of one batch says little
    held_out = {int(row["step"]): row["eval_loss"] for row in rows if "eval_loss" in row}
    if len(losses) < 2:
        return None
    first, last_loss = fmean(losses[:some]), fmean(losses[-some:])
    fell = f"from {first:.4f} to {last_loss:.4f}"
    if last_loss >= first:
        return Course(False, f"the training loss did not fall ({fell}): train longer, or with another learning_rate")
    if len(held_out) > 1:
        best, last = min(held_out, key=lambda step: held_out[step]), max(held_out)
        if held_out[last] > OVERFITTED * held_out[best]:
            rose = f"was lowest at step {best} ({held_out[best]:.4f}) and rose to {held_out[last]:.4f}"
            return Course(False, f"the held-out loss {rose}, which is overfitting: train fewer epochs")
        return Course(True, f"the training loss fell {fell}, and the held-out loss did not rise again")
    return Course(True, f"the training loss fell {fell}")


def first_loss(config: Mapping[str, Any]) -> float | None:
    """The loss of a policy that equals its reference; None where it depends on the data."""
    method = method_of(config)
    loss = str(config.get("pref_loss") or method.losses[0]) if method is not None and method.losses else ""
    formula = method.first_loss.get(loss) if method is not None else None
    others = ["pref_ftx", "pref_bco_weight"]
    weights = [config.get(f"kto_{side}_weight") for side in ("chosen", "rejected")]
    if formula is None or any(float(config.get(key) or 0) > 0 for key in others):
        return None
    if any(weight not in (None, 1) for weight in weights):
        return None
    return FORMULAS[formula](float(config.get("pref_beta", 0.1)))


def check_start(config: Mapping[str, Any], first: Mapping[str, float]) -> StartCheck | None:
    """Compare the first logged step with what it must be; None when the config gives no such identity.

    Where the loss depends on the data (SFT loss mixed in with `pref_ftx`, unbalanced KTO), the rewards must still
    be 0. They are judged as log-ratios (reward / beta, in nats, summed over a response), which a small beta would hide.
    In bfloat16 policy and reference take the same path through the same kernels, so the tolerance is small. NEFTune's
    noise is in the policy only, so with it there is no identity.
    """
    rewards = [abs(first[key]) for key in ("rewards/chosen", "rewards/rejected") if key in first]
    method = method_of(config)
    # LD-DPO weighs tokens of the policy only (get_batch_logps), so even equal models differ.
    is_weighted = config.get("ld_alpha") not in (None, 1)
    if (
        method is None
        or not method.has_reference
        or is_weighted
        or config.get("ref_model")
        or config.get("neftune_noise_alpha")
        or "loss" not in first
        or not rewards
    ):
        return None
    loss, wanted = first["loss"], first_loss(config)
    log_ratio = max(rewards) / float(config.get("pref_beta") or 0.1)
    if log_ratio <= LARGEST_LOG_RATIO and (wanted is None or abs(loss - wanted) <= 1e-3 * max(1.0, wanted)):
        known = (
            f"first loss {loss:.4f}, as it must be"
            if wanted is not None
            else "the first rewards are 0, as they must be"
        )
        return StartCheck(True, f"{known}: the reference is the starting policy")
    figures = f"a loss of {wanted:.4f} and rewards of 0" if wanted is not None else "rewards of 0"
    return StartCheck(
        False,
        f"the first step has loss {loss:.4f} and log-ratios up to {log_ratio:.2f} nats where {figures} must be: "
        "the reference is NOT the starting policy",
    )
