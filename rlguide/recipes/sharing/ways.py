"""The ways in which several processes share a training, as LLaMA-Factory's keys.

DDP (torch's DistributedDataParallel) is what it does without any: each process holds all, and gradients are summed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AUTO, DDP, FSDP, ZERO2, ZERO3 = "auto", "ddp", "fsdp", "zero2", "zero3"
SHARINGS = (AUTO, DDP, FSDP, ZERO2, ZERO3)
TITLES = {DDP: "DDP", FSDP: "FSDP2", ZERO2: "ZeRO-2", ZERO3: "ZeRO-3"}
KEYS = ("deepspeed", "fsdp")

# Keys of transformers' `fsdp_config`. 4.57 itself does not read all of them: `rlguide_worker/sharding.py` has which.
# A full state is what an adapter is written from; one process reads the weights, or each GPU would hold all of them
# before they are shared (transformers, modeling_utils.py; accelerate, fsdp2_prepare_model).
_FSDP2 = {
    "version": 2,
    "reshard_after_forward": True,
    "state_dict_type": "FULL_STATE_DICT",
    "cpu_ram_efficient_loading": True,
}
# "auto" is what transformers fills in from the training's own keys (integrations/deepspeed.py).
_DEEPSPEED = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    "zero_allow_untested_optimizer": True,
    "bf16": {"enabled": "auto"},
    "fp16": {"enabled": "auto"},
}
_ZERO: dict[str, dict[str, Any]] = {
    ZERO2: {"stage": 2},
    ZERO3: {
        "stage": 3,
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "stage3_param_persistence_threshold": "auto",
        "stage3_gather_16bit_weights_on_model_save": True,  # else no adapter is written, only its pieces
    },
}


def sharing_keys(name: str | None) -> dict[str, Any]:
    """The keys of a config for a way; none for DDP, and where the plan is to choose."""
    if name == FSDP:
        return {"fsdp": "full_shard auto_wrap", "fsdp_config": dict(_FSDP2)}
    if name in _ZERO:
        return {"deepspeed": {**_DEEPSPEED, "zero_optimization": dict(_ZERO[name])}}
    return {}


def is_said(config: Mapping[str, Any]) -> bool:
    """Whether a config says how processes share the training."""
    return any(config.get(key) for key in KEYS)
