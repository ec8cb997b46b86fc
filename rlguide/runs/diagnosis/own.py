"""Rules of one method: KTO's batch and weights, ORPO's balance, SimPO's settings, PPO's KL divergence."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from rlguide.runs.diagnosis.logs import Logs, number, standard_error
from rlguide.runs.diagnosis.seen import Seen


def _is_stage(logs: Logs, stage: str) -> bool:
    return logs.method is not None and logs.method.stage == stage


def kto_batch(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A micro-batch, over all processes, that is too small to estimate a KL divergence from."""
    if not _is_stage(logs, "kto"):
        return None
    processes = max(1, logs.facts.processes)
    batch = number(logs.config.get("per_device_train_batch_size"), 8.0) * processes
    if batch >= at["batch"]:
        return None
    wanted = -int(-at["batch"] // processes)
    settings = {"per_device_train_batch_size": wanted}
    return Seen(None, {"batch": round(batch), "wanted": wanted}, settings, "warning" if batch < 2 else None)


def kto_weights(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """Good and bad responses whose counts times their weights are out of balance."""
    good, bad = (number(logs.facts.data.get(side)) for side in ("good", "bad"))
    if not _is_stage(logs, "kto") or good <= 0 or bad <= 0:
        return None
    chosen = number(logs.config.get("kto_chosen_weight"), 1.0)
    rejected = number(logs.config.get("kto_rejected_weight"), 1.0)
    ratio = good * chosen / (bad * rejected) if bad * rejected > 0 else 0.0
    if at["low"] - at["slack"] <= ratio <= at["high"] + at["slack"]:
        return None
    values = {"good": round(good), "bad": round(bad), "chosen": chosen, "rejected": rejected, "ratio": ratio}
    more_good = good >= bad
    settings = {
        "kto_chosen_weight": 1.0 if more_good else round(bad / good, 2),
        "kto_rejected_weight": round(good / bad, 2) if more_good else 1.0,
    }
    return Seen(None, values, settings)


def kto_logits(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """Logits that look absurd, and are not."""
    points = logs.points("logits/chosen") if _is_stage(logs, "kto") else []
    large = [(step, value) for step, value in points if abs(value) > at["size"]]
    return Seen(large[-1][0], {"value": large[-1][1], "step": large[-1][0]}) if large else None


def orpo_unbalanced(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A weight of the odds ratio far above any that is published, or an SFT loss that rises while that improves."""
    sft, odds = ([value for _, value in logs.points(key)] for key in ("sft_loss", "odds_ratio_loss"))
    if logs.loss != "orpo":
        return None
    if logs.beta > at["beta"]:
        return Seen(None, {"seen": f"pref_beta is {logs.beta:g}, and 1 is the largest of the paper"})
    if len(sft) < at["logs"] or len(odds) < at["logs"]:
        return None
    some = max(2, min(20, len(sft) // 3))
    first, last = fmean(sft[:some]), fmean(sft[-some:])
    noise = (standard_error(sft[:some]) ** 2 + standard_error(sft[-some:]) ** 2) ** 0.5
    enough = max(at["rise"] * first, at["standard_errors"] * noise)
    if last - first < enough or fmean(odds[-some:]) >= fmean(odds[:some]):
        return None
    said = f"the SFT loss rose from {first:.4f} to {last:.4f} at step {logs.step} while the odds-ratio loss fell"
    return Seen(logs.step, {"seen": said})


def simpo_settings(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A beta as of DPO, or a target margin above what beta makes possible."""
    if logs.loss != "simpo":
        return None
    gamma = number(logs.config.get("simpo_gamma"), 0.5)
    if logs.beta < at["beta"]:
        return Seen(None, {"seen": f"pref_beta is {logs.beta:g}"})
    if gamma > at["ratio"] * logs.beta:
        said = f"simpo_gamma is {gamma:g}, {gamma / logs.beta:.1f} times pref_beta ({logs.beta:g})"
        return Seen(None, {"seen": said}, {"simpo_gamma": round(0.5 * logs.beta, 2)})
    return None


def ppo_kl(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A KL divergence far above its target, with a reward that rises or falls."""
    kl, rewards = ([value for _, value in logs.points(key)] for key in ("kl", "reward"))
    if not _is_stage(logs, "ppo") or len(kl) < 3 or len(rewards) < 3:
        return None
    some = max(1, min(10, len(rewards) // 3))
    target = number(logs.config.get("ppo_target"), 6.0)
    last, first, reward = fmean(kl[-some:]), fmean(rewards[:some]), fmean(rewards[-some:])
    if target <= 0 or last <= at["times"] * target:
        return None
    cause = "the policy has found what the reward model overrates, and people read its responses as odd"
    if reward <= first:
        cause = "the updates are too large: the policy leaves its start, and earns no more for it"
    values = {"kl": last, "times": last / target, "reward": reward, "first": first, "step": logs.step, "cause": cause}
    return Seen(logs.step, values)
