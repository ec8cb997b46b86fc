"""The config of LLaMA-Factory's export, in the base model's own type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlguide.engine.hardware import list_gpus
from rlguide.policy.policy import Policy

_SHARD_GB = 5  # size of one weight file
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
FLOATS = {*DTYPES, "F64", "F8_E4M3", "F8_E5M2"}


def config(policy: Policy, folder: Path, found: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """The LLaMA-Factory config that merges the policy into `folder`."""
    dtype = found["dtype"]
    return {
        **keys,
        **policy.model_config(),
        "trust_remote_code": bool(keys.get("trust_remote_code", False)),
        "infer_dtype": dtype if dtype in DTYPES.values() else "auto",
        "export_dir": str(folder.absolute()),
        "export_size": _SHARD_GB,
        "export_device": _device(found["base_bytes"]),
        "export_legacy_format": False,
    }


def _device(size: int) -> str:
    """ "auto" (the GPU) if one has room for the model: chat merges there too, and every rounding is then the same."""
    return "auto" if any(gpu.free_bytes > 1.3 * size + (1 << 30) for gpu in list_gpus()) else "cpu"
