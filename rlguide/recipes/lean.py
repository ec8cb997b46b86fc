"""What a training does in less memory and time than the engine's own, to the same result (`rlguide_worker/lean.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlguide.catalog.methods import Method

# As the worker names them, and what each means.
PARTS = {
    "reference": "the reference scores each example once",
    "logits": "logits are never held in full",
    "checkpointing": "gradient checkpointing is off where it fits",
}
# A key of a config that makes the worker train as the engine does, and why.
_PLAIN_KEYS = {
    "deepspeed": "with DeepSpeed all is done as in LLaMA-Factory",
    "fsdp": "with FSDP all is done as in LLaMA-Factory",
    "torch_compile": "with torch_compile all is done as in LLaMA-Factory",
    "use_unsloth": "with unsloth all is done as in LLaMA-Factory",
}
# A key of SFT whose loss takes more of the logits than one number a token.
_FULL_LOGITS_KEYS = ("label_smoothing_factor", "use_asft_loss", "use_eaft_loss")
_STAGES = ("dpo", "kto", "rm", "sft")


def left_out(method: Method, config: Mapping[str, Any]) -> dict[str, str]:
    """The parts that a training with this config cannot have, and why; the rest is decided where it runs."""
    if method.stage not in _STAGES:
        return dict.fromkeys(PARTS, f"{method.name.upper()} is trained as in LLaMA-Factory")
    for key, why in _PLAIN_KEYS.items():
        if config.get(key):
            return dict.fromkeys(PARTS, why)
    found = {}
    if not method.has_reference:
        found["reference"] = "the loss has none"
    elif config.get("neftune_noise_alpha"):
        found["reference"] = "NEFTune's noise reaches it"
    if method.stage == "sft" and any(config.get(key) for key in _FULL_LOGITS_KEYS):
        found["logits"] = "the loss takes every token's probability"
    if config.get("disable_gradient_checkpointing"):
        found["checkpointing"] = "the config turns it off"
    return found


def describe(without: Mapping[str, str]) -> str:
    """What is done otherwise, and what is not and why, in one line."""
    used = [text for part, text in PARTS.items() if part not in without]
    if not used:
        return f"no: {next(iter(without.values()))}"
    others = [f"{part}: {why}" for part, why in without.items() if part in PARTS]
    return "; ".join(used) + (f" ({'; '.join(others)})" if others else "")


def outcome(lean: Mapping[str, Any]) -> str:
    """What a run did otherwise and what that saved, from its record; "" if that says nothing."""
    used, why_not = lean.get("used"), lean.get("why_not")
    if not isinstance(used, list) or not isinstance(why_not, dict):
        return ""
    saved = []
    if "reference" in used:
        known, new = lean.get("looked_up"), lean.get("computed")
        if isinstance(known, int) and isinstance(new, int) and known:
            saved.append(f"the reference's pass for {known} of {known + new} examples")
    size = lean.get("logits_bytes")
    if "logits" in used and isinstance(size, int):
        saved.append(f"logits of {size / 2**30:.2g} GiB a copy")
    if "checkpointing" in used:
        saved.append("gradient checkpointing")
    reasons = {part: why for part, why in why_not.items() if part in PARTS and isinstance(why, str)}
    if not saved and len(reasons) == len(PARTS) and len(set(reasons.values())) == 1:
        return f"saved: nothing ({next(iter(reasons.values()))})"
    others = "; ".join(f"{part}: {why}" for part, why in reasons.items())
    return f"saved: {', '.join(saved) or 'nothing'}" + (f" ({others})" if others else "")
