"""Whether the first step shows that the reference is the starting policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Loss of the first step, when the policy still is the reference and every log-ratio is 0: the sigmoid loss of the
# DPO paper (arXiv 2305.18290, eq. 7) at 0; the hinge relu(1 - 0); IPO's (0 - 1 / (2 beta))^2 (arXiv 2310.12036).
_FIRST_LOSS: dict[str, Callable[[float], float]] = {
    "sigmoid": lambda beta: math.log(2),
    "hinge": lambda beta: 1.0,
    "ipo": lambda beta: 1 / (4 * beta**2),
    "kto": lambda beta: 0.5,  # 1 - sigmoid(0), arXiv 2402.01306, eq. 8, with weights of 1
}


@dataclass(frozen=True)
class StartCheck:
    """Whether the first logged step proves that the reference is the starting policy."""

    ok: bool
    message: str


def first_loss(config: Mapping[str, Any]) -> float | None:
    """The loss of a policy that equals its reference; None where it depends on the data."""
    stage = config.get("stage", "dpo")
    name = "kto" if stage == "kto" else str(config.get("pref_loss", "sigmoid"))
    others = ["pref_ftx", "pref_bco_weight"]
    weights = [config.get(f"kto_{side}_weight") for side in ("chosen", "rejected")]
    if stage not in ("dpo", "kto") or name not in _FIRST_LOSS or any(float(config.get(key) or 0) > 0 for key in others):
        return None
    if any(weight not in (None, 1) for weight in weights):
        return None
    return _FIRST_LOSS[name](float(config.get("pref_beta", 0.1)))


def check_start(config: Mapping[str, Any], first: Mapping[str, float]) -> StartCheck | None:
    """Compare the first logged step with what it must be; None when the config gives no such identity.

    Where the loss depends on the data (SFT loss mixed in with `pref_ftx`, unbalanced KTO), the rewards must still
    be 0. In bfloat16 policy and reference take the same path through the same kernels, so the tolerance is small.
    """
    rewards = [abs(first[key]) for key in ("rewards/chosen", "rewards/rejected") if key in first]
    has_reference = config.get("stage", "dpo") in ("dpo", "kto") and config.get("pref_loss") not in ("orpo", "simpo")
    # LD-DPO weighs tokens of the policy only (get_batch_logps), so even equal models differ.
    is_weighted = config.get("ld_alpha") not in (None, 1)
    if not has_reference or is_weighted or config.get("ref_model") or "loss" not in first or not rewards:
        return None
    loss, wanted = first["loss"], first_loss(config)
    if max(rewards) <= 1e-2 and (wanted is None or abs(loss - wanted) <= 1e-3 * max(1.0, wanted)):
        known = (
            f"first loss {loss:.4f}, as it must be"
            if wanted is not None
            else "the first rewards are 0, as they must be"
        )
        return StartCheck(True, f"{known}: the reference is the starting policy")
    figures = f"a loss of {wanted:.4f} and rewards of 0" if wanted is not None else "rewards of 0"
    return StartCheck(
        False,
        f"the first step has loss {loss:.4f} and rewards up to {max(rewards):.3f} where {figures} must be: "
        "the reference is NOT the starting policy",
    )
