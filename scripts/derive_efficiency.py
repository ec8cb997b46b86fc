#!/usr/bin/env python3
"""What share of a GPU's peak fine-tuning reaches, from published speeds; and what the guide's own example must take.

Prints the tables of docs/planner.md. The shares are those of `rlguide/planner/time.py` (a test holds them equal).

    python scripts/derive_efficiency.py
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlguide.catalog.gpus import gpu_models, parse_gpus
from rlguide.catalog.yaml_file import read_yaml
from rlguide.planner.time import Work, published_efficiency, relative, ridge, seconds

HERE = Path(__file__).parent
FULL_ENOUGH = 1024  # tokens in a micro-batch, from which on the GPU and not Python sets the pace


@dataclass(frozen=True)
class Measured:
    """One published speed: `share` of the dense bf16 peak, and the seconds of one layer's pass."""

    group: Mapping[str, Any]
    model: str
    tokens: int
    length: int
    seconds: float
    share: float
    pass_seconds: float

    @property
    def is_full_enough(self) -> bool:
        return self.tokens >= FULL_ENOUGH and "left_out" not in self.group


def step_flops(model: Mapping[str, Any], micro_batch: int, length: int, full: bool, recomputed: bool = True) -> float:
    """Operations of one micro-batch, forward, recomputation and backward, counted as torch's FlopCounterMode does.

    A matrix product of a token with n weights is 2n forward, 2n again where it is recomputed, 2n for the gradient of
    its input and, if the weights are trained, 2n for theirs. Attention is counted as if it were not causal, 4 x length
    x width a token and layer forward and 2.5 times that backward (flash kernels compute the scores again).
    """
    tokens = micro_batch * length
    width = int(model["hidden_size"])
    heads, kv_heads = int(model["num_attention_heads"]), int(model["num_key_value_heads"])
    head = int(model.get("head_dim") or width // heads)
    layer = 2 * width * head * (heads + kv_heads) + 3 * width * int(model["intermediate_size"])
    layers, out = int(model["num_hidden_layers"]), width * int(model["vocab_size"])
    backward, again = (2 if full else 1), (1 if recomputed else 0)
    products = 2 * tokens * (layer * layers * (1 + again + backward) + out * (1 + backward))
    attention = 4 * tokens * length * heads * head * layers * (1 + again + 2.5)
    return float(products + attention)


@cache
def measured() -> tuple[Measured, ...]:
    """The published speeds."""
    models = read_yaml(HERE / "published_memory.yaml")["models"]
    found = []
    for group in read_yaml(HERE / "published_speed.yaml"):
        peak = gpu_models()[group["gpu"]].flops["bf16"]
        for name, micro_batch, length, took in group["rows"]:
            flops = step_flops(models[name], micro_batch, length, group["tuning"] == "full")
            share, one_pass = flops / took / peak, took / models[name]["num_hidden_layers"] / 3
            found.append(Measured(group, name, micro_batch * length, length, took, share, one_pass))
    return tuple(found)


def exponent() -> float:
    """How the share falls with the operations that a GPU can do for each byte it can move.

    From the same program, model and tuning on two GPUs: share ~ (operations a byte) ** -exponent; their median.
    """
    found = []
    for one in measured():
        for other in measured():
            same = all(one.group.get(key) == other.group.get(key) for key in ("tuning", "quantized", "trainer", "url"))
            if same and one.is_full_enough and (one.model, one.tokens) == (other.model, other.tokens):
                ridges = [ridge(gpu_models()[row.group["gpu"]]) for row in (one, other)]
                if ridges[1] > 1.2 * ridges[0]:
                    found.append(-math.log(other.share / one.share) / math.log(ridges[1] / ridges[0]))
    return round(statistics.median(found), 1)


def shares(quantized: int | None) -> tuple[float, float, float]:
    """The range of shares on a GPU as an A100: low, middle, high.

    Low is the 10 % quantile of all programs, middle and high the median and the 90 % quantile of those on the Hugging
    Face Trainer, each brought to the A100's operations a byte.
    """
    rows = [row for row in measured() if row.group["quantized"] == quantized and row.is_full_enough]
    every = [row.share / relative(gpu_models()[row.group["gpu"]]) for row in rows]
    trainer = [row.share / relative(gpu_models()[row.group["gpu"]]) for row in rows if row.group["trainer"]]
    low = statistics.quantiles(every, n=10, method="inclusive")[0]
    high = statistics.quantiles(trainer, n=10, method="inclusive")[-1]
    return round(low, 2), round(statistics.median(trainer), 2), round(high, 2)


def pass_seconds() -> tuple[float, float]:
    """Seconds of one layer's pass over a micro-batch too small to fill the GPU: the median, and the longest.

    Rows of up to 512 tokens, and those of at most 1,024 that reach less than a quarter of the peak.
    """
    small = [row.pass_seconds for row in measured() if row.tokens <= 512 or (row.tokens <= 1024 and row.share < 0.25)]
    return round(statistics.median(small), 4), round(max(small), 4)


def table() -> str:
    """The table of docs/planner.md."""
    lines = [
        "| GPU | Base | Source | Model | Micro-batch | Seconds | Share of the peak |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in measured():
        base = f"{row.group['quantized'] or 16}-bit" + (", full" if row.group["tuning"] == "full" else "")
        source = re.split(r"[,(]", row.group["source"])[0].strip() + (" *" if "left_out" in row.group else "")
        size = f"{row.tokens // row.length} x {row.length:,}"
        gpu = gpu_models()[row.group["gpu"]].title
        lines.append(f"| {gpu} | {base} | {source} | {row.model} | {size} | {row.seconds:g} | {row.share:.2f} |")
    return "\n".join(lines)


def example() -> str:
    """Hours of the guide's own example, DPO of Qwen3-4B on 64,000 pairs of UltraFeedback, 3 epochs, 2 x A6000."""
    layers, out, width, length, tokens = 36 * 100.9e6, 389e6, 36 * 4096, 440, 64_000 * 3 * 880
    gpus = parse_gpus("2xA6000")
    lines = ["| | FLOPs a token | FLOPs | At the peak | Low | Middle | High |", "|---|---|---|---|---|---|---|"]
    for name, forwards, backwards, recomputed, references in (
        ("LLaMA-Factory: checkpointing, the reference each time", 1, 1, 1, 1.0),
        ("rlguide: no checkpointing, the reference once", 1, 1, 0, 1 / 3),
    ):
        passes = forwards + backwards + recomputed + references
        products = 2 * (layers * passes + out * (passes - recomputed))
        flops = products + 4 * length * width * (forwards + recomputed + references + 2.5 * backwards)
        work = Work(flops * tokens, layer_passes=64_000 * 3 * 36 * passes)
        time = seconds(work, gpus, "bf16", published_efficiency(gpus.model))
        assert time is not None
        hours = [work.flops / (2 * 154.8e12), time.low, time.mid, time.high]
        cells = " | ".join(f"{value / 3600:.1f} h" for value in hours)
        lines.append(f"| {name} | {flops:.2e} | {work.flops:.2e} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables and what is derived from them."""
    print(table())
    print(example())
    for quantized in (None, 4):
        rows = [row for row in measured() if row.group["quantized"] == quantized and row.is_full_enough]
        trainer = sum(row.group["trainer"] for row in rows)
        print(f"{quantized or 16}-bit: {shares(quantized)}, of {len(rows)} rows, {trainer} on the Trainer")
    print(f"exponent: {exponent()}; seconds of a layer's pass: {pass_seconds()}")


if __name__ == "__main__":
    main()
