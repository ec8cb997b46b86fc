"""Hold planned memory against what others measured on real GPUs (scripts/published_memory.yaml).

    python scripts/compare_published_memory.py            print the table
    python scripts/compare_published_memory.py --write    put it into docs/planner.md

Each measurement is simulated as LLaMA-Factory would train it; what it was measured with is another program, so parts
that are named in its `uncertain` differ. Planned is the peak of live tensors, without what CUDA and its allocator add.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from rlguide.engine.find import find_engine
from rlguide.planner.simulation import Case, Step, simulate

ROOT = Path(__file__).resolve().parents[1]
GIB = 2**30


def main() -> None:
    """Simulate each and print or write the table."""
    published = yaml.safe_load((ROOT / "scripts" / "published_memory.yaml").read_text(encoding="utf-8"))
    rows = [row for row in published["measurements"] if row.get("tuning") == "full" or row.get("rank")]
    steps = simulate(find_engine(None), [case_of(row, published["models"][row["model"]]) for row in rows])
    planned = {row["id"]: planned_cell(row, step) for row, step in zip(rows, steps, strict=True)}
    page = ROOT / "docs" / "planner.md"
    text = re.sub(
        r"^(\| ([\w.-]+) \|(?:[^|\n]*\|){6})[^|\n]*\|$",
        lambda line: f"{line[1]} {planned[line[2]]} |" if line[2] in planned else line[0],
        page.read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    if "--write" in sys.argv[1:]:
        page.write_text(text, encoding="utf-8")
    for name, cell in planned.items():
        print(f"{name:36} {cell}")


def case_of(row: dict[str, Any], model: dict[str, Any]) -> Case:
    """The step of a measurement."""
    sides = 2 if row["method"] == "dpo" else 1
    config: dict[str, Any] = {
        "stage": row["method"],
        "finetuning_type": row["tuning"],
        "per_device_train_batch_size": row["micro_batch"],
        "gradient_accumulation_steps": 1,
        "cutoff_len": row["length"],
        "bf16": row["dtype"] != "float32",
        "flash_attn": row.get("attention"),
    }
    if row["tuning"] == "lora":
        config |= {"lora_rank": row["rank"], "lora_target": ",".join(row["targets"])}
    if row.get("quantized"):
        config |= {"quantization_bit": row["quantized"], "double_quantization": row.get("double_quantization", True)}
    if row.get("pure_bf16"):
        config["pure_bf16"] = True
    prompt = row["length"] // 4
    example = (prompt, *[row["length"] - prompt] * sides)
    sizes = {"max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "bos_token_id": 0, "eos_token_id": 2}
    return Case(config, {**sizes, **model}, (example,) * row["micro_batch"], True, row["checkpointing"])


def planned_cell(row: dict[str, Any], step: Step | str) -> str:
    """GiB, and the deviation from what was measured."""
    if isinstance(step, str):
        return f"not simulated: {step}"
    gib = step.peak / GIB
    return f"{gib:.2f} ({gib / row['measured_gib'] - 1:+.0%})"


if __name__ == "__main__":
    main()
