"""How much disk a run will take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlguide.errors import RlguideError
from rlguide.policy.base import BaseModel
from rlguide.workspace import Workspace, free_bytes

_GIB = 1 << 30


def check_disk(ws: Workspace, config: Mapping[str, Any], base: BaseModel, data_bytes: int) -> int:
    """Refuse to start when the disk cannot hold what the run will write; returns the bytes it needs.

    Raises:
        RlguideError: too little free space, with both figures.
    """
    needed = disk_need(config, base.config or {}, data_bytes)
    free = free_bytes(ws.root / str(config["output_dir"]))
    if free < needed:
        raise RlguideError(
            f"the run needs about {needed / _GIB:.1f} GiB of disk, {free / _GIB:.1f} GiB are free",
            "free some space, or keep fewer checkpoints: --set save_total_limit=1",
        )
    return needed


def disk_need(config: Mapping[str, Any], base: Mapping[str, Any], data_bytes: int) -> int:
    """Bytes that a LoRA run writes, rounded up generously; `base` is the base model's config.json.

    A LoRA checkpoint holds the adapter in float32 (4 bytes a parameter) and AdamW's two moments (8 bytes); one
    more than `save_total_limit` exist while the next is written, and the final adapter lies beside them. The
    tokenizer (up to 20 MB) is in each. The tokenized data take about three times the text.
    """
    parameters = lora_parameters(base, int(config.get("lora_rank", 8)))
    kept = int(config.get("save_total_limit") or 10)
    return (kept + 2) * (parameters * 12 + 20_000_000) + 3 * data_bytes + 50_000_000


def lora_parameters(base: Mapping[str, Any], rank: int) -> int:
    """Parameters of a LoRA of this rank on every linear layer: rank x (in + out) each (LoRA, arXiv 2106.09685).

    `base` is the model's config.json; 100 million is taken when its sizes are unknown.
    """
    try:
        hidden, layers, inner = int(base["hidden_size"]), int(base["num_hidden_layers"]), int(base["intermediate_size"])
        heads = int(base["num_attention_heads"])
        head = int(base.get("head_dim") or hidden // heads)
        queries, keys = heads * head, int(base.get("num_key_value_heads") or heads) * head
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return 100_000_000
    attention = 2 * (hidden + queries) + 2 * (hidden + keys)
    return layers * rank * (attention + 3 * (hidden + inner))
