"""A small model's training, and steps that nobody simulated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rlguide.catalog.methods import find_method
from rlguide.planner import plan
from rlguide.planner.lengths import Lengths
from rlguide.planner.simulation import Case, Counted, Step
from rlguide.planner.training import Training
from rlguide.recipes.schedule import Schedule

GIB = 1 << 30
LAYERS = 10


@pytest.fixture
def training() -> Callable[..., Training]:
    """DPO of 100 pairs in 3 epochs, 8 at a time; the config's keys can be changed."""

    def make(is_plain: bool = False, method: str = "dpo", rows: int = 100, **keys: Any) -> Training:
        config = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "bf16": True, "cutoff_len": 2048,
                  "finetuning_type": "lora", "model_name_or_path": "m", **keys}  # fmt: skip
        steps = -(-rows // 8)
        lengths = Lengths(((16, 32, 24), (8, 8, 8)), (16, 100, 84), "made up")
        schedule = Schedule(rows, 0, 1, 8, steps, 3 * steps)
        return Training(find_method(method), config, {"num_hidden_layers": LAYERS}, schedule, lengths, is_plain)

    return make


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> list[Case]:
    """Every step takes 1 GiB and, of each token, a bit more without checkpointing; the cases that were asked for."""
    asked: list[Case] = []

    def simulate(engine: Any, cases: Any, is_enough: Any) -> list[Step]:
        asked.extend(cases)
        return [step_of(case) for case in cases]

    monkeypatch.setattr(plan, "simulate", simulate)
    return asked


def step_of(case: Case) -> Step:
    sides = [prompt + response for prompt, *responses in case.lengths for response in responses]
    width = -(-max(sides) // 8) * 8
    tokens, squares = len(sides) * width, len(sides) * width**2
    held = tokens * (1 if case.is_checkpointed else 6) * (GIB // 100)
    weights = GIB // 4 if case.config.get("quantization_bit") else GIB
    work = Counted(1e9 * tokens, 1e3 * squares, 1e6 * tokens, 1000)
    kinds = {"weights": weights, "gradients": GIB // 8, "optimizer": GIB // 4, "activations": held}
    reference = work if case.config.get("stage", "dpo") == "dpo" else Counted()
    return Step(kinds, work, reference, work, 1000, 10, GIB // 4, tokens, squares)
