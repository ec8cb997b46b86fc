"""Does this base model fit this adapter? Answered from headers and configs, before anything is loaded.

An adapter loaded on the wrong base either fails after minutes of loading (shapes differ) or, worse, does not
fail at all: Qwen3-4B and Qwen3-4B-Base have the same shapes, and an SFT adapter of one on the other is a
policy that was never trained. So both the shapes and the names are compared.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide import hub_settings
from rlguide.errors import CheckpointError
from rlguide.policy.checkpoint import Checkpoint, check_full_model, locate, read_config
from rlguide.workspace import Workspace

# Families whose q, k, v, o and MLP projections have exactly the sizes that config.json gives. Others (gated or
# latent attention, fused projections) are compared by number of layers and input size alone.
_PLAIN_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "smollm3")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.(.+)\.lora_(A|B)(?:\.\w+)?\.weight$")


@dataclass(frozen=True)
class BaseModel:
    """A base model as found: a local folder, a hub model in the cache, or one still to be downloaded."""

    name: str  # as a config names it: a hub id, or a folder from the workspace or absolute
    folder: Path | None  # where it lies, if it is a local folder
    config: dict[str, Any] | None  # its config.json, None if it is not on this machine yet
    is_downloaded: bool

    @property
    def notes(self) -> list[str]:
        """A warning for a hub model that is not in the cache."""
        if self.is_downloaded:
            return []
        return [f"{self.name} is not on this machine yet: the engine will download it before it starts"]


def find_base(ws: Workspace, name: str) -> BaseModel:
    """Look for a base model on this machine, without network.

    Raises:
        CheckpointError: a local folder that is missing, truncated or has no tokenizer; or a hub model that is
            not in the cache while HF_HUB_OFFLINE is set.
    """
    path = locate(ws, name)
    if path.exists():
        if not path.is_dir():
            raise CheckpointError(f"the base model {name} is a file, not a folder", "name its folder, or a hub id")
        check_full_model(path)
        return local_base(ws, path)
    if _looks_local(ws, name):
        raise CheckpointError(
            f"the base model {name} does not exist",
            "name its folder or hub id with --base, e.g. --base Qwen/Qwen3-4B-Base",
        )
    config_file = cached_file(name, "config.json")
    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
    has_weights = any(cached_file(name, file) for file in weights)
    if not has_weights and hub_settings.is_offline():
        raise CheckpointError(
            f"the base model {name} is not in the hub cache and HF_HUB_OFFLINE is set",
            "unset HF_HUB_OFFLINE to download it, or name a local folder with --base",
        )
    return BaseModel(name, None, read_config(config_file) if config_file else None, is_downloaded=has_weights)


def local_base(ws: Workspace, path: Path) -> BaseModel:
    """The base model in a folder that is known to hold a whole one."""
    return BaseModel(ws.relative(path), path, read_config(path / "config.json"), is_downloaded=True)


def check_base(checkpoint: Checkpoint, base: BaseModel, trust_base: bool = False) -> list[str]:
    """Check that the adapter was trained on this base; returns what could not be checked, as warnings.

    `trust_base` accepts a base with another name (a renamed folder); shapes must match all the same.

    Raises:
        CheckpointError: the base is of another shape, or of another name.
    """
    notes = []
    if base.config is not None:
        if checkpoint.shapes:
            check_shapes(checkpoint, base.config, base.name)
        elif checkpoint.kind == "lora":
            notes.append(f"{checkpoint.path.name}: .bin weights are not opened, so their shapes are not checked")
    notes += base.notes
    if checkpoint.base is None:
        if checkpoint.kind == "lora":
            notes.append(f"{checkpoint.path.name} does not say what its base is: make sure it is {base.name}")
    elif not trust_base and not same_model(checkpoint.base, base.name):
        raise CheckpointError(
            f"{checkpoint.name} was trained on {checkpoint.base}, not on {base.name}",
            f"leave --base out or give --base {shlex.quote(checkpoint.base)};"
            " --trust-base if it is the same model renamed",
        )
    return notes


def language_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of a config.json: `text_config` of a model that also sees or hears, else the whole."""
    text = config.get("text_config")
    return text if isinstance(text, dict) else config


def same_model(one: str, other: str) -> bool:
    """Whether two names (hub ids, folders, cache folders) end in the same model name, in any case."""
    return model_name(one).lower() == model_name(other).lower()


def model_name(text: str) -> str:
    """The model's own name: the last part of a hub id or folder, seen through the caches' ways of writing it."""
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    for part in parts:
        if part.startswith("models--"):  # Hugging Face: models--Qwen--Qwen3-4B-Base/snapshots/<commit>
            return part.split("--")[-1]
    return parts[-1].replace("___", ".") if parts else ""  # ModelScope: Qwen2___5-7B


def check_shapes(checkpoint: Checkpoint, config: dict[str, Any], base: str) -> None:
    """Compare the adapter's tensors with the base's config.json. Raises CheckpointError at the first difference."""
    text = language_part(config)
    layers = text.get("num_hidden_layers")
    sizes = _projection_sizes(text)
    highest = -1
    for name, shape in checkpoint.shapes.items():
        match = _LAYER.search(name)
        if match is None or "visual" in name or "vision" in name or len(shape) != 2:
            continue
        highest = max(highest, int(match[1]))
        expected = sizes.get(match[2].rpartition(".")[2], (None, None))[0 if match[3] == "A" else 1]
        # lora_A is (rank, in_features), lora_B is (out_features, rank)
        actual = shape[1] if match[3] == "A" else shape[0]
        if expected is not None and actual != expected:
            side = "inputs" if match[3] == "A" else "outputs"
            raise _mismatch(checkpoint, base, f"its {match[2]} has {actual} {side}, the base model's has {expected}")
    if highest < 0 or not isinstance(layers, int):
        return
    covers_all = not any("layers." in target for target in checkpoint.target_modules)
    if highest >= layers or (covers_all and highest + 1 < layers):
        raise _mismatch(checkpoint, base, f"it has {highest + 1} layers, the base model has {layers}")


def _projection_sizes(config: Mapping[str, Any]) -> dict[str, tuple[int | None, int | None]]:
    """(in_features, out_features) of the projections that config.json determines; None where it does not."""
    hidden, heads = _integer(config, "hidden_size"), _integer(config, "num_attention_heads")
    if hidden is None:
        return {}
    if config.get("model_type") not in _PLAIN_FAMILIES or not heads:
        return dict.fromkeys(("q_proj", "k_proj", "v_proj"), (hidden, None))
    head = _integer(config, "head_dim") or hidden // heads
    groups = _integer(config, "num_key_value_heads") or heads
    middle = _integer(config, "intermediate_size")
    return {
        "q_proj": (hidden, heads * head),
        "k_proj": (hidden, groups * head),
        "v_proj": (hidden, groups * head),
        "o_proj": (heads * head, hidden),
        "gate_proj": (hidden, middle),
        "up_proj": (hidden, middle),
        "down_proj": (middle, hidden),
    }


def _integer(config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _mismatch(checkpoint: Checkpoint, base: str, detail: str) -> CheckpointError:
    recorded = (
        f"give its own base: --base {shlex.quote(checkpoint.base)}"
        if checkpoint.base
        else "name the base it was trained on"
    )
    if checkpoint.base and same_model(checkpoint.base, base):
        recorded = "choose the base it was trained on, or another checkpoint"
    return CheckpointError(f"{checkpoint.path.name} does not fit {base}: {detail}", recorded)


def _looks_local(ws: Workspace, name: str) -> bool:
    if not _HUB_ID.fullmatch(name) or name.startswith("."):
        return True
    first = name.split("/")[0]
    return "/" in name and ((ws.root / first).is_dir() or Path(first).is_dir())


def cached_file(name: str, file: str) -> Path | None:
    """A file of a hub model in the local cache, None if it is not there; no network is used."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, file, hub_settings.cache())
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None
