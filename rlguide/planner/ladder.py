"""How a training that ran out of memory continues: the next setting that needs less and learns the same.

The steps of the ladder, in the order in which they are tried. None of them changes what is learnt; what would (a
shorter `cutoff_len`) is only named, by `what_is_left`.

1. Segments of the CUDA allocator that can grow, where enough memory was free, but in pieces.
2. Gradient checkpointing on, where it was off: each layer's forward pass is computed twice.
3. Smaller micro-batches, as many more of them for an update. Each update has the rows that it had: their order is drawn
   over all of them, whatever the micro-batch (torch's RandomSampler, seeded by accelerate), and an update takes the
   next `effective batch` of it; transformers' Trainer skips `steps x accumulation` micro-batches when it resumes. Only
   where the last micro-batches of an epoch are filled up for several processes, fewer rows are repeated.
4. Liger's kernels, where they are installed.

Of main memory: fewer processes that prepare and load data, then as above where it is a CPU that trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rlguide.catalog.methods import method_of
from rlguide.engine.config_file import format_value
from rlguide.engine.out_of_memory import Figures
from rlguide.recipes.schedule import ACCUMULATION, EVAL_BATCH, MICRO_BATCH, count_of

SEGMENTS, CHECKPOINTING = "expandable_segments", "checkpointing"
# Ways to need less memory that are not keys of a config, and what each does.
WAYS = {
    SEGMENTS: "CUDA memory in segments that can grow",
    CHECKPOINTING: "gradient checkpointing on",
}
_NAMES = {MICRO_BATCH: "micro-batch", ACCUMULATION: "accumulation", EVAL_BATCH: "evaluation batch"}
_OFF = "disable_gradient_checkpointing"
_COUNTS = (MICRO_BATCH, ACCUMULATION, EVAL_BATCH)
_LARGEST = 2**16  # rows of a batch that are tried
_SHORTEST = 128  # tokens of cutoff_len below which hardly an example is whole

Fits = Callable[[Mapping[str, Any]], bool | None]


@dataclass(frozen=True)
class Failed:
    """How a training ran out of memory.

    Attributes:
        memory: which one: "gpu" or "main".
        what: in words.
        during: "start", "training" or "evaluation"; "" if it is not known.
        figures: bytes, as far as they are known.
        lean: the parts that it did otherwise than the engine (`recipes.lean.PARTS`).
        ways: those of `WAYS` that it had already.
        can_segment: whether it is a CUDA allocator's memory, in whose settings nobody has a say yet.
        has_liger: whether its engine has Liger's kernels.
        fixed: why its micro-batch cannot be another, "" if it can.
    """

    memory: str
    what: str = "memory ran out"
    during: str = ""
    figures: Figures = field(default_factory=Figures)
    lean: tuple[str, ...] = ()
    ways: tuple[str, ...] = ()
    can_segment: bool = False
    has_liger: bool = False
    fixed: str = ""


@dataclass(frozen=True)
class Change:
    """The next setting: keys of the config with their new values, one of `WAYS`, or both."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    way: str = ""

    def applied(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The config with it."""
        return {**config, **self.settings}

    def describe(self, config: Mapping[str, Any]) -> str:
        """What changes in this config, in words."""
        if self.way:  # which says what its keys are for
            return WAYS[self.way]
        said = []
        before = {**config, **{key: count_of(config, key) for key in _COUNTS}}
        for key, value in self.settings.items():
            old = f"{format_value(before[key])} -> " if key in before else ""
            said.append(f"{_NAMES.get(key, key)} {old}{format_value(value)}")
        return ", ".join(said)


def unknown(config: Mapping[str, Any]) -> None:
    """A plan that says of no config whether it fits."""


def next_setting(config: Mapping[str, Any], failed: Failed, fits: Fits = unknown) -> Change | None:
    """What to go on with: the next step of the ladder of which the plan does not say that it cannot fit.

    Effective batch, steps and the rows of each step stay what they are.

    Args:
        fits: what the plan says of a config; None: it does not know.

    Returns:
        None if there is no step left.
    """
    changes = _ladder(config, failed)
    return next((it for it in changes if not _is_planned(it, failed) or fits(it.applied(config)) is not False), None)


def _is_planned(change: Change, failed: Failed) -> bool:
    """Whether a plan knows what a change does: it is of a GPU's memory in a step of training, by any allocator."""
    return failed.memory == "gpu" and failed.during != "evaluation" and change.way != SEGMENTS


def _ladder(config: Mapping[str, Any], failed: Failed) -> Iterator[Change]:
    """The steps that are left, those that cost least first."""
    is_cpu = bool(config.get("use_cpu"))
    if failed.memory == "main":
        yield from _fewer_processes(config, failed)
        if not is_cpu:
            return
    if failed.during == "start":  # the model itself does not fit
        return
    if _segments_may_help(failed):
        yield Change(way=SEGMENTS)
    if failed.during == "evaluation":
        yield from (Change({EVAL_BATCH: size}) for size in _smaller(count_of(config, EVAL_BATCH)))
        return
    is_off = bool(config.get(_OFF))
    if (is_off or CHECKPOINTING in failed.lean) and CHECKPOINTING not in failed.ways:
        yield Change({_OFF: False} if is_off else {}, CHECKPOINTING)
    if not why_fixed(config, failed):
        batch, accumulation = count_of(config, MICRO_BATCH), count_of(config, ACCUMULATION)
        for size in _smaller(batch):
            yield Change({MICRO_BATCH: size, ACCUMULATION: accumulation * batch // size})
    if failed.has_liger and not is_cpu and not config.get("enable_liger_kernel"):
        yield Change({"enable_liger_kernel": True})


def _fewer_processes(config: Mapping[str, Any], failed: Failed) -> Iterator[Change]:
    """Processes beside the training: those that tokenize before its start, and those that load its batches."""
    if failed.during in ("", "start") and (config.get("preprocessing_num_workers") or 1) > 1:
        yield Change({"preprocessing_num_workers": 1})
    if failed.during != "start" and (config.get("dataloader_num_workers") or 0) > 0:
        yield Change({"dataloader_num_workers": 0})


def _segments_may_help(failed: Failed) -> bool:
    """Whether memory may have run out because it was free in pieces only, and the allocator was not asked to grow."""
    can = failed.memory == "gpu" and failed.can_segment and SEGMENTS not in failed.ways
    return can and failed.figures.is_scattered is not False


def _smaller(size: int) -> Iterator[int]:
    """The divisors of a batch below itself, the largest first: with them the effective batch stays what it is."""
    return (part for part in range(min(size // 2, _LARGEST), 0, -1) if size % part == 0)


def why_fixed(config: Mapping[str, Any], failed: Failed | None = None) -> str:
    """Why another micro-batch would train something else, or nothing; "" if it would not."""
    if failed is not None and failed.fixed:
        return failed.fixed
    if config.get("auto_find_batch_size"):
        return "auto_find_batch_size chooses it"
    if config.get("dataloader_drop_last"):
        return "with dataloader_drop_last other rows would be dropped"
    method = method_of(config)
    reasons = {} if method is None else method.micro_batch
    return next((why for key, why in reasons.items() if not key or config.get(key)), "")


def what_is_left(config: Mapping[str, Any], failed: Failed) -> list[tuple[str, str]]:
    """Settings (KEY=VALUE) that need less memory and change what is learnt, each with what that is."""
    left: list[tuple[str, str]] = []
    if failed.during == "start":
        return left
    smaller = next(_smaller(count_of(config, MICRO_BATCH)), None)
    if smaller is not None and (why := why_fixed(config, failed)):
        left.append((f"{MICRO_BATCH}={smaller}", why))
    length = config.get("cutoff_len")
    if isinstance(length, int) and length >= 2 * _SHORTEST:
        left.append((f"cutoff_len={length // 2}", "longer examples are cut"))
    return left
