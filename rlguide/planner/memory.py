"""The memory of each GPU: the simulated step, shared as DDP, ZeRO or FSDP share it, and what CUDA adds.

docs/planner.md has the formulas with their sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide.planner.learnt import Allowance
from rlguide.planner.simulation import Step, is_half
from rlguide.recipes.outward import read_settings

GIB = 1 << 30
# What the kinds of a step are called for a person, in the order of a table.
NAMES = {
    "weights": "weights",
    "reference": "reference model",
    "trained": "adapter, or weights that are trained",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activations",
    "logits": "logits and their copies",
    "exchange": "exchange between GPUs",
    "allowance": "CUDA and allocator",
}
_GATHERED = 2 * 500_000_000  # bytes: DeepSpeed's default reduce_bucket_size, 5e8 elements of 16 bits


@dataclass(frozen=True)
class Sharing:
    """How several GPUs share what one would hold.

    Attributes:
        name: "one GPU", "DDP", "ZeRO-2", "ZeRO-3", "FSDP" or "FSDP2".
        count: GPUs.
        shares: kinds of which each GPU holds a part.
        offloaded: kinds that lie in main memory.
        gathered: the share of all weights that a GPU holds whole at once; 0 where that is not known.
        width: bytes of a weight as it is computed with.
    """

    name: str = "one GPU"
    count: int = 1
    shares: frozenset[str] = frozenset()
    offloaded: frozenset[str] = frozenset()
    gathered: float = 0.0
    width: int = 4


@dataclass(frozen=True)
class Memory:
    """Bytes on each GPU by part (the keys of `NAMES`), at the peak."""

    parts: Mapping[str, int]

    @property
    def peak(self) -> int:
        """All of them."""
        return sum(self.parts.values())

    @property
    def tensors(self) -> int:
        """Those of live tensors."""
        return self.peak - self.parts.get("allowance", 0)

    @property
    def largest(self) -> str:
        """The part that takes most."""
        return max(self.parts, key=lambda part: self.parts[part])


def sharing_of(config: Mapping[str, Any], count: int, root: Path, shapes: Mapping[str, Any] | None = None) -> Sharing:
    """How a config shares a training among `count` GPUs.

    Args:
        root: the workspace, from which DeepSpeed's own file is read.
        shapes: of the language model, as in its config.json.
    """
    if config.get("deepspeed"):
        return _deepspeed(config["deepspeed"], count, root)
    if config.get("fsdp"):
        value = config["fsdp"]
        words = [str(word) for word in value] if isinstance(value, list) else str(value).split()
        settings = read_settings(root, config.get("fsdp_config"))
        name = "FSDP2" if isinstance(settings, dict) and str(settings.get("version")) == "2" else "FSDP"
        if "no_shard" in words:  # as DDP does it
            return Sharing(name, count)
        is_full = not {"full_shard", "hybrid_shard"}.isdisjoint(words)  # the latter within each node
        offloaded = frozenset({"weights", "trained", "optimizer"}) if "offload" in words else frozenset[str]()
        shares = {"trained", "gradients", "optimizer"} | ({"weights", "reference"} if is_full else set())
        gathered = gathered_at_once(shapes or {}) if is_full else 0.0
        return Sharing(name, count, frozenset(shares), offloaded, gathered, 2 if is_half(config) else 4)
    return Sharing("DDP", count) if count > 1 else Sharing()


def gathered_at_once(shapes: Mapping[str, Any]) -> float:
    """The share of a model's weights that FSDP holds whole at once; 0 where the shapes are not known.

    Those outside of the layers (embeddings and head) belong to the root, which is whole during each pass; of the layers
    one is whole while it computes, and the next is being gathered (torch 2.11, fully_shard, with accelerate's wrapping
    of each layer). Head and attention are taken as they mostly are: square but for the heads of keys and values.
    """
    try:
        hidden, layers = int(shapes["hidden_size"]), int(shapes["num_hidden_layers"])
        root = int(shapes["vocab_size"]) * hidden * (1 if shapes.get("tie_word_embeddings") else 2)
        heads = int(shapes["num_attention_heads"])
        width = int(shapes.get("head_dim") or hidden // heads)
        attention = 2 * hidden * width * (heads + int(shapes.get("num_key_value_heads") or heads))
        layer = attention + 3 * hidden * int(shapes["intermediate_size"])
        return min(1.0, (root + 2 * layer) / (root + layers * layer))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return 0.0


def _deepspeed(value: Any, count: int, root: Path) -> Sharing:
    try:
        zero = read_settings(root, value)["zero_optimization"]
        stage = int(zero.get("stage", 0))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Sharing("DeepSpeed", count)
    shares: set[str] = set()
    for least, kind in ((1, "optimizer"), (2, "gradients"), (3, "trained"), (3, "weights"), (3, "reference")):
        shares |= {kind} if stage >= least else set()
    offloaded = {kind for key, kind in (("offload_optimizer", "optimizer"), ("offload_param", "weights"))
                 if isinstance(zero.get(key), dict) and zero[key].get("device") in ("cpu", "nvme")}  # fmt: skip
    return Sharing(f"ZeRO-{stage}", count, frozenset(shares), frozenset(offloaded))


def memory_of(step: Step, sharing: Sharing, allowance: Allowance | None) -> Memory:
    """What each GPU holds at the peak of a step; `allowance`: what CUDA and its allocator add, None without a GPU."""
    parts = {kind: step.kinds.get(kind, 0) for kind in NAMES if kind in step.kinds}
    for kind in parts:
        if kind in sharing.offloaded:
            parts[kind] = 0
        elif kind in sharing.shares:
            parts[kind] = -(-parts[kind] // sharing.count)
    trained = step.kinds.get("gradients", 0)
    if sharing.count > 1:
        # DDP copies gradients into buckets (gradient_as_bucket_view is off); ZeRO and FSDP gather what they share.
        parts["exchange"] = trained if not sharing.shares else min(trained, _GATHERED)
        if sharing.gathered:  # whole weights as they are computed with, and their gradients before they are shared
            whole = step.kinds.get("weights", 0) + min(step.kinds.get("trained", 0), sharing.width * step.trained)
            parts["exchange"] = int(sharing.gathered * (whole + trained))
        elif "weights" in sharing.shares:
            parts["exchange"] += min(step.kinds.get("weights", 0), 2 * _GATHERED)
    if allowance is not None:
        parts["allowance"] = allowance.of(sum(parts.values()))
    return Memory({kind: parts[kind] for kind in NAMES if parts.get(kind)})
