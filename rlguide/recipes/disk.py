"""How much disk a run will take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlguide.errors import RlguideError
from rlguide.policy.base import language_part
from rlguide.workspace import Workspace, free_bytes

_GIB = 1 << 30
_MOST = 1 << 24  # of what a config.json counts; anybody may have written it


def check_disk(ws: Workspace, config: Mapping[str, Any], needed: int) -> None:
    """Refuse to start when the disk cannot hold what the run will write, `needed` bytes.

    Raises:
        RlguideError: too little free space, with both figures.
    """
    free = free_bytes(ws.root / str(config["output_dir"]))
    if free < needed:
        raise RlguideError(
            f"the run needs about {needed / _GIB:.1f} GiB of disk, {free / _GIB:.1f} GiB are free",
            "free some space, or keep fewer checkpoints: --set save_total_limit=1",
        )


def disk_need(config: Mapping[str, Any], base: Mapping[str, Any], data_bytes: int) -> int:
    """Bytes that a run writes, rounded up generously; `base` is the base model's config.json.

    A checkpoint holds what is trained in float32 (4 bytes a parameter) and AdamW's two moments (8 bytes; none with
    `save_only_model`); one more than `save_total_limit` exist while the next is written, and the final weights lie
    beside them. The tokenizer (up to 20 MB) is in each. The tokenized data take about three times the text.
    """
    kept = int(config.get("save_total_limit") or 10)
    size = 4 if config.get("save_only_model") else 12
    return (kept + 2) * (saved_parameters(config, base) * size + 20_000_000) + 3 * data_bytes + 50_000_000


def saved_parameters(config: Mapping[str, Any], base: Mapping[str, Any]) -> int:
    """Parameters in a checkpoint: those of an adapter of `lora_rank` on every linear layer, rank x (in + out) each
    (LoRA, arXiv 2106.09685), or all where the model itself is tuned (`finetuning_type` full or freeze).

    `base` is the model's config.json; where its sizes are unknown, 100 million are taken for an adapter and 8 billion
    for a model.
    """
    is_adapter = config.get("finetuning_type", "lora") in ("lora", "oft")
    rank = int(config.get("lora_rank", 8))
    base = {**base, **language_part(base)}
    try:
        hidden, layers, inner = int(base["hidden_size"]), int(base["num_hidden_layers"]), int(base["intermediate_size"])
        heads = int(base["num_attention_heads"])
        head = int(base.get("head_dim") or hidden // heads)
        queries, keys = heads * head, int(base.get("num_key_value_heads") or heads) * head
        vocabulary = int(base.get("vocab_size") or 0)
        if not all(0 < size < _MOST for size in (hidden, layers, inner, heads, head, keys, vocabulary + 1)):
            raise ValueError("no model's sizes")
        embedded = hidden * vocabulary * (1 if base.get("tie_word_embeddings") else 2)
    except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError):
        return 100_000_000 if is_adapter else 8_000_000_000
    linear = [(hidden, queries), (queries, hidden), *[(hidden, keys)] * 2, *[(hidden, inner)] * 3]
    if is_adapter:
        return layers * rank * sum(into + out for into, out in linear)
    return layers * sum(into * out for into, out in linear) + embedded
