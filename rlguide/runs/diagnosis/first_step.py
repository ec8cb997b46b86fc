"""Whether the first step shows that the reference is the starting policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rlguide.catalog.diagnosis import diagnosis_rules
from rlguide.catalog.methods import method_of
from rlguide.runs.diagnosis.logs import number

# The loss of the first step, when the policy still is the reference and every log-ratio is 0, by the name that
# catalog/methods.yaml gives it, of beta.
FORMULAS: dict[str, Callable[[float], float]] = {
    "ln 2": lambda beta: math.log(2),
    "1": lambda beta: 1.0,
    "1 / (4 beta^2)": lambda beta: 1 / (4 * beta**2),
    "1 / 2": lambda beta: 0.5,
}


@dataclass(frozen=True)
class StartCheck:
    """Whether the first logged step proves that the reference is the starting policy."""

    ok: bool
    message: str


def first_loss(config: Mapping[str, Any]) -> float | None:
    """The loss of a policy that equals its reference; None where it depends on the data."""
    method = method_of(config)
    loss = str(config.get("pref_loss") or method.losses[0]) if method is not None and method.losses else ""
    formula = method.first_loss.get(loss) if method is not None else None
    weights = [config.get(f"kto_{side}_weight") for side in ("chosen", "rejected")]
    beta = number(config.get("pref_beta"), 0.1)
    if formula is None or any(number(config.get(key)) > 0 for key in ("pref_ftx", "pref_bco_weight")):
        return None
    if any(weight not in (None, 1) for weight in weights) or not 1e-9 < abs(beta) < 1e9:
        return None
    return FORMULAS[formula](beta)


def check_start(config: Mapping[str, Any], first: Mapping[str, float]) -> StartCheck | None:
    """Compare the first logged step with what it must be; None when the config gives no such identity.

    Where the loss depends on the data (SFT loss mixed in with `pref_ftx`, unbalanced KTO), the rewards must still
    be 0. They are judged as log-ratios (reward / beta, in nats, summed over a response), which a small beta would hide.
    In bfloat16 policy and reference take the same path through the same kernels, so the tolerance is small. NEFTune's
    noise is in the policy only, so with it there is no identity.
    """
    if not _has_identity(config, first):
        return None
    wrong, wanted = wrong_start(config, first), first_loss(config)
    if wrong is not None:
        rule = diagnosis_rules()["reference"]
        return StartCheck(False, f"{rule.seen.format_map(wrong)}: the reference is NOT the starting policy")
    known = (
        f"first loss {first['loss']:.4f}, as it must be"
        if wanted is not None
        else "the first rewards are 0, as they must be"
    )
    return StartCheck(True, f"{known}: the reference is the starting policy")


def wrong_start(config: Mapping[str, Any], first: Mapping[str, float]) -> dict[str, Any] | None:
    """What the first step has, and what it must have, if that is another loss or reward; None if all is well."""
    if not _has_identity(config, first):
        return None
    at = diagnosis_rules()["reference"].at
    loss, wanted, beta = first["loss"], first_loss(config), number(config.get("pref_beta"), 0.1)
    log_ratio = max(_rewards(first)) / (beta if beta > 0 else 0.1)
    limit = at["per_token"] if config.get("pref_loss") == "ipo" else at["log_ratio"]
    if log_ratio <= limit and (wanted is None or abs(loss - wanted) <= at["loss"] * max(1.0, wanted)):
        return None
    figures = f"a loss of {wanted:.4f} and rewards of 0" if wanted is not None else "rewards of 0"
    return {"loss": loss, "log_ratio": log_ratio, "wanted": figures}


def _rewards(first: Mapping[str, float]) -> list[float]:
    return [abs(first[key]) for key in ("rewards/chosen", "rewards/rejected") if key in first]


def _has_identity(config: Mapping[str, Any], first: Mapping[str, float]) -> bool:
    method = method_of(config)
    # LD-DPO weighs tokens of the policy only (get_batch_logps), so even equal models differ.
    is_weighted = config.get("ld_alpha") not in (None, 1)
    has_other = config.get("ref_model") or config.get("neftune_noise_alpha")
    has_figures = "loss" in first and bool(_rewards(first))
    return method is not None and method.has_reference and not is_weighted and not has_other and has_figures
