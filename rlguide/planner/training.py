"""What is to be planned, and what it amounts to by one simulated step: work, tokens, how often examples pass."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlguide.planner.lengths import Lengths
from rlguide.planner.simulation import Step, text_model
from rlguide.planner.time import Work
from rlguide.recipes.lean import left_out
from rlguide.recipes.schedule import MICRO_BATCH, count_of

if TYPE_CHECKING:
    from rlguide.catalog.methods import Method
    from rlguide.recipes.schedule import Schedule

_BATCHES = 200  # micro-batches that are drawn for the mean of their padding
_SEED = 20


@dataclass(frozen=True)
class Training:
    """What is to be planned.

    Attributes:
        config: of the training; model: the base model's config.json.
        is_plain: as LLaMA-Factory does it.
    """

    method: Method
    config: Mapping[str, Any]
    model: Mapping[str, Any]
    schedule: Schedule
    lengths: Lengths
    is_plain: bool = False


def work_of(training: Training, step: Step, is_checkpointed: bool) -> tuple[Work, float]:
    """What the whole training does, and its tokens with padding: the simulated step, scaled to the data's lengths.

    Products and what other operations move grow with the tokens, attention with the square of the length; all with the
    padding of each micro-batch.
    """
    config = training.config
    size = count_of(config, MICRO_BATCH)
    tokens, squares = _padded(training.lengths, size, bool(config.get("group_by_length")))
    layers = int(text_model(training.model)["num_hidden_layers"])
    seen, forwards, scored = examples_of(training, step)
    flops = moved = 0.0
    for work, count in ((step.policy, forwards), (step.reference, scored), (step.backward, seen)):
        flops += count * (work.flops / step.tokens * tokens + work.attention / step.squares * squares)
        moved += count * work.bytes / step.tokens * tokens
    passes = layers * (forwards + scored + seen * (2 if is_checkpointed else 1)) / size
    return Work(flops, moved, passes, forwards * tokens), seen * tokens


def examples_of(training: Training, step: Step) -> tuple[int, int, int]:
    """Examples that are trained on, that pass the policy, and that pass the reference, each as often as it does."""
    schedule, config = training.schedule, training.config
    seen = schedule.total_steps * schedule.effective_batch
    keeps = not training.is_plain and "reference" not in left_out(training.method, config)
    has_reference = step.reference.flops > 0
    scored = (min(seen, schedule.rows) if keeps else seen) if has_reference else 0
    evaluated = schedule.held_out * _evaluations(config, schedule)
    scored += (min(evaluated, schedule.held_out) if keeps else evaluated) if has_reference else 0
    return seen, seen + evaluated, scored


def _evaluations(config: Mapping[str, Any], schedule: Schedule) -> int:
    """How often it is evaluated: each so many steps, a share of them below 1; or when an epoch ends, the last too."""
    strategy = config.get("eval_strategy")
    if strategy not in ("steps", "epoch") or not schedule.held_out:
        return 0
    at_start = int(bool(config.get("eval_on_start")))
    if strategy == "epoch":
        return at_start + math.ceil(schedule.total_steps / schedule.steps_per_epoch)
    every = config.get("eval_steps") or config.get("logging_steps") or 500
    steps = every if every >= 1 else max(1, math.ceil(every * schedule.total_steps))
    return at_start + int(schedule.total_steps // steps)


def _padded(lengths: Lengths, size: int, is_grouped: bool) -> tuple[float, float]:
    """Mean tokens and squares of an example (all its sides), padded to the longest of its micro-batch of `size`."""
    draw = random.Random(_SEED)
    rows = list(lengths.rows)
    if is_grouped:
        rows.sort(key=lambda row: row[0] + max(row[1:]))
        starts = [draw.randrange(max(1, len(rows) - size + 1)) for _ in range(_BATCHES)]
        batches = [[rows[min(start + place, len(rows) - 1)] for place in range(size)] for start in starts]
    elif size == 1:
        batches = [[row] for row in rows]
    else:
        batches = [[draw.choice(rows) for _ in range(size)] for _ in range(_BATCHES)]
    tokens = squares = 0.0
    for batch in batches:
        width = -(-max(row[0] + max(row[1:]) for row in batch) // 8) * 8  # collators pad to a multiple of 8
        sides = sum(len(row) - 1 for row in batch)
        tokens, squares = tokens + sides * width, squares + sides * width**2
    count = size * len(batches)
    return tokens / count, squares / count
