"""Checkpoint folders as LLaMA-Factory and transformers write them, made byte by byte (no engine needed)."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

# Of a DPO run on top of an SFT adapter, as `run.json` in saves/dpo.
DPO_RECORD = {
    "method": "dpo",
    "status": "finished",
    "base": "models/tiny-base",
    "template": "qwen3_nothink",
    "stack": ["saves/sft", "saves/dpo"],
    "reference": {"base": "models/tiny-base", "adapters": ["saves/sft"]},
    "config": {"stage": "dpo"},
}


def write_safetensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    """A safetensors file of float32 ones."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    raw = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + struct.pack("<f", 1.0) * (end // 4))
    return path


def lora_shapes(layers: int = 2, hidden: int = 16, rank: int = 4, middle: int = 32) -> dict[str, tuple[int, ...]]:
    """LoRA tensors as peft names them, on q_proj and down_proj of a model with hidden = heads * head_dim."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(layers):
        top = f"base_model.model.model.layers.{layer}"
        shapes[f"{top}.self_attn.q_proj.lora_A.weight"] = (rank, hidden)
        shapes[f"{top}.self_attn.q_proj.lora_B.weight"] = (hidden, rank)
        shapes[f"{top}.mlp.down_proj.lora_A.weight"] = (rank, middle)
        shapes[f"{top}.mlp.down_proj.lora_B.weight"] = (hidden, rank)
    return shapes


def write_lora(path: Path, base: str | None = "models/tiny-base", rank: int = 4, **size: int) -> Path:
    """A LoRA adapter folder with a training state of SFT."""
    write_safetensors(path / "adapter_model.safetensors", lora_shapes(rank=rank, **size))
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": rank,
        "target_modules": ["q_proj", "down_proj"],
    }
    (path / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    write_state(path, [{"loss": 2.5, "step": 10}, {"loss": 1.25, "step": 20}, {"train_loss": 1.9, "step": 20}])
    return path


def write_state(path: Path, history: list[dict[str, Any]], step: int = 20) -> None:
    """trainer_state.json as transformers writes it."""
    (path / "trainer_state.json").write_text(
        json.dumps({"global_step": step, "log_history": history}), encoding="utf-8"
    )


def write_model(path: Path, layers: int = 2, hidden: int = 16, middle: int = 32, shards: int = 1, **extra: Any) -> Path:
    """A whole model folder of the Qwen3 family, with tokenizer."""
    path.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": "qwen3",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": hidden // 2,
        "intermediate_size": middle,
        "vocab_size": 64,
        **extra,
    }
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (path / "tokenizer.json").write_text("{}", encoding="utf-8")
    if shards == 1:
        write_safetensors(path / "model.safetensors", {"model.embed_tokens.weight": (64, hidden)})
        return path
    names = {f"w{i}": f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)}
    for tensor, name in names.items():
        write_safetensors(path / name, {tensor: (4, hidden)})
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}), encoding="utf-8")
    return path
