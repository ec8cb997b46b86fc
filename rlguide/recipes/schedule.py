"""What a training will do, worked out before it starts: effective batch, steps, and when to log, save, evaluate."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlguide.engine.hardware import Gpu
from rlguide.errors import UsageError

MICRO_BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
EVAL_BATCH = "per_device_eval_batch_size"
_DEFAULTS = {MICRO_BATCH: 8, ACCUMULATION: 1, EVAL_BATCH: 8}  # transformers 4.57, TrainingArguments


def count_of(config: Mapping[str, Any], key: str) -> int:
    """The rows of a micro-batch or of a batch of evaluation on one GPU, or the micro-batches of an update."""
    try:
        return max(1, int(config.get(key, _DEFAULTS[key])))
    except (TypeError, ValueError, OverflowError):  # a config that nothing has checked
        return _DEFAULTS[key]


UNITS = {"pairs": "pairs", "labels": "examples", "prompts": "prompts", "responses": "examples"}  # of a method's data


def processes(config: Mapping[str, Any], gpus: list[Gpu], environment: Mapping[str, str]) -> int:
    """How many processes LLaMA-Factory will start: one per GPU, NPROC_PER_NODE x NNODES when torchrun is forced.

    Raises:
        UsageError: one of these variables is not a count.
    """
    nodes = _count(environment, "NNODES", 1)
    return processes_here(config, gpus, environment) * nodes


def processes_here(config: Mapping[str, Any], gpus: list[Gpu], environment: Mapping[str, str]) -> int:
    """How many of them on this node. Raises UsageError as `processes`."""
    here = len(gpus) if not config.get("use_cpu") or len(gpus) > 1 else 1
    if is_forced(environment) or here > 1:
        here = _count(environment, "NPROC_PER_NODE", max(here, 1))
    return max(here, 1)


def is_forced(environment: Mapping[str, str]) -> bool:
    """Whether torchrun starts the processes, however many there are."""
    return environment.get("FORCE_TORCHRUN", "0").lower() in ("1", "true", "y")


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0 and len(text) < 7):
        raise UsageError(
            f"the environment has {name}={text}, which is not a count",
            f"set it to a number, e.g. {name}=2, or unset it; for elastic nodes: RDZV_ID, MIN_NNODES, MAX_NNODES",
        )
    return int(text)


@dataclass(frozen=True)
class Schedule:
    """The arithmetic of a run.

    Attributes:
        rows: pairs (or what `unit` says) that are trained on, without held-out ones.
        held_out: pairs that are evaluated on, 0 if none.
        effective_batch: pairs per update = pairs per GPU x accumulation x GPUs.
        total_steps: updates in the whole run.
        unit: what a row is called.
        is_exact: False where the engine decides how many rows it uses, so that the counts are estimates.
    """

    rows: int
    held_out: int
    processes: int
    effective_batch: int
    steps_per_epoch: int
    total_steps: int
    unit: str = "pairs"
    is_exact: bool = True

    def describe(self) -> str:
        """One line for a person."""
        held = f", {self.held_out:,} held out" if self.held_out else ", none held out"
        several = f" on {self.processes} processes" if self.processes > 1 else ""
        about = "" if self.is_exact else "about "
        return (
            f"{about}{self.rows:,} {self.unit}{held}; effective batch {self.effective_batch}{several}; "
            f"{about}{self.total_steps:,} steps ({self.steps_per_epoch:,} an epoch)"
        )


@dataclass(frozen=True)
class Mixture:
    """The rows that the engine makes of several datasets; `is_exact`: whether it can be known beforehand."""

    rows: int
    is_exact: bool


def mixture(config: Mapping[str, Any], counts: Sequence[int | None]) -> Mixture:
    """What `max_samples` and `mix_strategy` leave of datasets with so many rows.

    LLaMA-Factory 0.9.5 cuts each dataset to `max_samples` by itself (data/loader.py) and joins them one behind the
    other, or interleaves them with `datasets.interleave_datasets` (data/data_utils.py). Without probabilities the
    datasets take turns, until the shortest (interleave_under) or the longest (interleave_over) is used up; with them
    the turns are drawn, and only their mean is known.

    Args:
        counts: rows of each dataset; None where the engine fetches it.
    """
    limit = config.get("max_samples")
    known = [count if not limit or count is None else min(count, limit) for count in counts]
    rows = [count or 0 for count in known]
    strategy = config.get("mix_strategy") or "concat"
    is_exact = None not in known
    if strategy == "concat" or len(rows) < 2:
        return Mixture(sum(rows), is_exact)
    shares = _shares(config.get("interleave_probs"), len(rows))
    if strategy == "interleave_once":  # every row once, in turns
        return Mixture(sum(rows), is_exact)
    choose = min if strategy == "interleave_under" else max
    turns = choose(count / share for count, share in zip(rows, shares, strict=True))
    return Mixture(round(turns), is_exact and not config.get("interleave_probs"))


def _shares(text: Any, number: int) -> list[float]:
    """The share that each dataset has of the turns. Raises UsageError if `interleave_probs` does not say it."""
    if not text:
        return [1 / number] * number
    try:
        shares = [float(part) for part in str(text).split(",")]
    except ValueError:
        shares = []
    if len(shares) != number or not all(0 < share <= 1 for share in shares):
        raise UsageError(
            f"interleave_probs {text} is not a share above 0 for each of the {number} datasets",
            f"give as many numbers, e.g. {','.join(['%.2g' % (1 / number)] * number)}",
        )
    return shares


def schedule(
    config: Mapping[str, Any], counts: Sequence[int | None], held_out_counts: Sequence[int | None], processes: int
) -> Schedule:
    """Count steps as transformers' Trainer does (4.57, `Trainer.set_initial_training_values`).

    Each process gets ceil(rows / batch / processes) batches; an update takes `gradient_accumulation_steps` of
    them and the rest of an epoch counts as one more; `max_steps` above 0 overrides the epochs.

    Args:
        counts: pairs in each training dataset, before `val_size` and `max_samples`; None where it is not known.
        held_out_counts: pairs in each evaluation dataset.
        processes: GPUs, or processes of a distributed run on CPU; at least 1.

    Raises:
        UsageError: shares of datasets that do not fit them.
    """
    train, evaluated = mixture(config, counts), mixture(config, held_out_counts)
    rows, held_out = train.rows, evaluated.rows
    share = max(config.get("val_size") or 0, 0)  # the engine splits nothing off where it is negative
    if not held_out and share:
        held_out = math.ceil(rows * share) if share < 1 else int(share)
        rows = max(rows - held_out, 0)
    per_device, accumulation = count_of(config, MICRO_BATCH), count_of(config, ACCUMULATION)
    batches = math.ceil(math.ceil(rows / per_device) / processes)
    steps_per_epoch = max(math.ceil(batches / accumulation), 1)
    max_steps = int(config.get("max_steps", -1))
    total = max_steps if max_steps > 0 else math.ceil(float(config.get("num_train_epochs", 3)) * steps_per_epoch)
    effective_batch = per_device * accumulation * processes
    is_exact = train.is_exact and evaluated.is_exact and not config.get("streaming")
    return Schedule(rows, held_out, processes, effective_batch, steps_per_epoch, total, is_exact=is_exact)


def intervals(total_steps: int) -> dict[str, int]:
    """`logging_steps`, `save_steps`, `eval_steps` for a run of this many steps.

    A line every 10 steps (at least 20 lines a run); a checkpoint at least every 200 steps, so that a crash in
    the night costs little of it; ten evaluations a run.
    """
    return {
        "logging_steps": max(1, min(10, total_steps // 20)),
        "save_steps": max(1, min(200, math.ceil(total_steps / 5))),
        "eval_steps": max(1, math.ceil(total_steps / 10)),
    }


def interval_keys(keys: Container[str], count: Schedule) -> dict[str, Any]:
    """When to log, save and evaluate in a run like `count`; None leaves a key out. `keys`: those of the template."""
    values: dict[str, Any] = intervals(count.total_steps)
    if "eval_strategy" not in keys:  # PPO does not evaluate
        values.pop("eval_steps")
        return values
    values["eval_strategy"] = "steps" if count.held_out else "no"
    if not count.held_out:
        values["eval_steps"] = None
    return values
