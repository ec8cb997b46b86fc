"""Whether an adapter's weights are what its config says: a LoRA with a part missing is silently the model below it.

LLaMA-Factory and peft load what is there with a warning at most. Without its lora_B tensors, or with zeros in all of
them, an adapter changes nothing, so that "the SFT model" as reference would be the base model.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from rlguide.errors import CheckpointError
from rlguide.policy.checkpoint import Checkpoint, read_config
from rlguide.policy.safetensors import TensorInfo, read_header

WEIGHTS = "adapter_model.safetensors"
_PART = re.compile(r"^(?P<module>.+)\.lora_(?P<side>[AB]|embedding_[AB])(?:\.[^.]+)?(?:\.weight)?$")
_NUMPY = {"F32": "<f4", "F16": "<f2", "F64": "<f8"}


def check_weights(checkpoint: Checkpoint, may_be_zero: bool = False) -> None:
    """Read an adapter's weights once (0.1 s for 130 MB) and compare them with its config.

    A full model is left alone, and so is an adapter without safetensors (a .bin file is a pickle). `may_be_zero`: of
    what a run has trained, an evaluation says itself that nothing was learnt.

    Raises:
        CheckpointError: a half of a pair is missing, another rank than the config says, NaN or infinity, or no effect.
    """
    path = checkpoint.path / WEIGHTS
    if checkpoint.kind != "lora" or not path.is_file():
        return
    header = read_header(path)
    _check_parts(checkpoint.name, header, read_config(checkpoint.path / "adapter_config.json"))
    _check_values(path, checkpoint.name, header, may_be_zero)


def _check_parts(name: str, header: dict[str, TensorInfo], config: dict[str, Any]) -> None:
    parts: dict[str, dict[str, TensorInfo]] = {}
    for tensor, info in header.items():
        if match := _PART.match(tensor):
            parts.setdefault(match["module"], {})[match["side"][-1]] = info
    for module, sides in parts.items():
        missing = [f"lora_{side}" for side in "AB" if side not in sides]
        if missing:
            raise CheckpointError(
                f"the adapter {name} has no {missing[0]} of {module}: it would be applied in part",
                "copy it again from where it was trained, or choose another checkpoint",
            )
    ranks = {min(sides["A"].shape) for sides in parts.values() if sides["A"].shape}
    wanted, patterns = config.get("r"), config.get("rank_pattern")
    if isinstance(wanted, int) and ranks and not patterns and ranks != {wanted} and max(ranks) != wanted:
        raise CheckpointError(
            f"the adapter {name} has rank {max(ranks)}, and its adapter_config.json says {wanted}",
            "its config and its weights are of two trainings: copy both again",
        )


def _check_values(path: Path, name: str, header: dict[str, TensorInfo], may_be_zero: bool) -> None:
    import numpy as np

    has_effect, is_lora = may_be_zero, False
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        offsets = json.loads(file.read(length))
        for tensor, info in header.items():
            match = _PART.match(tensor)
            begin, end = offsets[tensor]["data_offsets"]
            file.seek(8 + length + begin)
            raw = file.read(end - begin)
            if not _is_finite(np, info.dtype, raw):
                raise CheckpointError(
                    f"the adapter {name} has NaN or infinity in {tensor}: its training diverged",
                    "choose an earlier checkpoint (`rlguide checkpoints`)",
                )
            if match is None:
                has_effect = True  # a module that was trained in full
            elif match["side"].endswith("B"):
                is_lora = True
                has_effect = has_effect or any(raw)
    if is_lora and not has_effect:
        raise CheckpointError(
            f"all lora_B weights of the adapter {name} are 0, so it changes nothing",
            "choose a later checkpoint (`rlguide checkpoints`)",
        )


def _is_finite(np: Any, dtype: str, raw: bytes) -> bool:
    """Whether all numbers are finite; types of fewer bits than 16 are not looked at."""
    if dtype == "BF16":  # the upper half of a float32: infinite or NaN where all exponent bits are set
        bits = np.frombuffer(raw, "<u2")
        return not bool(((bits & 0x7F80) == 0x7F80).any())
    if dtype in _NUMPY:
        return bool(np.isfinite(np.frombuffer(raw, _NUMPY[dtype])).all())
    return True
