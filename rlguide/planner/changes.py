"""Other settings for a training that is planned: the smallest change that fits, and the fastest ones that fit.

Nothing here changes what is learnt without a word: `Change.learns` says what does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rlguide.engine.config_file import format_value
from rlguide.planner.ladder import why_fixed
from rlguide.planner.lengths import Lengths, cut_row
from rlguide.planner.plan import Plan
from rlguide.planner.training import Training
from rlguide.recipes.schedule import ACCUMULATION, MICRO_BATCH, count_of

_SHORTEST = 512  # tokens; a shorter cutoff_len cuts most responses
_NOT_WITH_LORA = ("use_galore", "use_apollo", "use_badam")  # LLaMA-Factory 0.9.5, hparams/finetuning_args.py
_LARGEST = 64  # examples of a micro-batch; more are never faster on one GPU


@dataclass(frozen=True)
class Change:
    """Settings to change.

    Attributes:
        settings: LLaMA-Factory's keys and their new values.
        what: in words.
        learns: what it changes in what is learnt; "" if nothing.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    what: str = "as it is"
    learns: str = ""

    @property
    def options(self) -> list[str]:
        """As options of a command."""
        return [part for key, value in self.settings.items() for part in ("--set", f"{key}={format_value(value)}")]

    def of(self, training: Training) -> Training:
        """The training with this change."""
        config = {**training.config, **self.settings}
        lengths = training.lengths
        if "cutoff_len" in self.settings:
            lengths = shortened(lengths, int(self.settings["cutoff_len"]))
        return replace(training, config=config, lengths=lengths)


def shortened(lengths: Lengths, cutoff: int) -> Lengths:
    """These lengths at a lower `cutoff_len`."""
    rows = tuple(cut_row(row, cutoff) for row in lengths.rows)
    return replace(lengths, rows=rows, longest=cut_row(lengths.longest, cutoff))


def batches(training: Training) -> list[tuple[int, int]]:
    """(micro-batch, accumulation) of the same effective batch, smallest first; none where others learn otherwise."""
    if why_fixed(training.config):
        return []
    both = count_of(training.config, MICRO_BATCH) * count_of(training.config, ACCUMULATION)
    return [(one, both // one) for one in range(1, min(both, _LARGEST) + 1) if both % one == 0]


def smaller(training: Training, merges: bool = True) -> list[Change]:
    """Changes that take less memory, those that change least first.

    Args:
        merges: whether an SFT adapter will be merged into the base where that is quantized.
    """
    size = count_of(training.config, MICRO_BATCH)
    found = [
        Change(_batch(one, many), f"micro-batch {one}, accumulated {many} times: the same effective batch")
        for one, many in reversed(batches(training))
        if one < size
    ]
    settings = _batch(*batches(training)[0]) if found else {}
    words: list[str] = []
    learns: list[str] = []
    for more, what, changed in _lessons(training.config, merges):
        # Each of these comes on top of those before, but for a shorter cutoff_len, which replaces a longer one.
        kept = 1 if "cutoff_len" in settings and "cutoff_len" in more else 0
        settings = {**settings, **more}
        words, learns = [*words[: len(words) - kept], what], [*learns[: len(learns) - kept], changed]
        found.append(Change(settings, ", ".join(words), ", ".join(learns)))
    return found


def _lessons(config: Mapping[str, Any], merges: bool) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Settings that change what is learnt, those that change least first: the settings, in words, and what changes."""
    tuning = config.get("finetuning_type", "lora")
    if tuning in ("full", "freeze"):
        others = {key: False for key in _NOT_WITH_LORA if config.get(key)}
        yield {"finetuning_type": "lora", **others}, "LoRA", "an adapter instead of all weights"
    can = not config.get("quantization_bit") and (merges or not config.get("adapter_name_or_path"))
    if tuning in ("full", "freeze", "lora") and can:
        yield {"quantization_bit": 4}, "a base of 4 bits", "the adapter is trained on a base of 4 bits (QLoRA)"
    cutoff = int(config.get("cutoff_len") or 2048) // 2
    while cutoff >= _SHORTEST:
        yield {"cutoff_len": cutoff}, f"cutoff_len {cutoff}", f"examples are cut at {cutoff} tokens"
        cutoff //= 2


def faster(training: Training, has_liger: bool = False) -> list[Change]:
    """Changes that may take less time at the same effective batch; `has_liger`: its kernels are installed."""
    found, size = [], count_of(training.config, MICRO_BATCH)
    grouped = {} if training.config.get("group_by_length") else {"group_by_length": True}
    liger = {"enable_liger_kernel": True} if has_liger and not training.config.get("enable_liger_kernel") else {}
    for one, many in batches(training) or [(size, 0)]:
        settings = {} if one == size else _batch(one, many)
        what = f"micro-batch {one} x {many}" if many else f"micro-batch {one}"
        if settings:
            found.append(Change(settings, what))
        if one > 1 and grouped:
            found.append(Change({**settings, **grouped}, f"{what}, grouped by length", "the order of examples"))
        if liger:
            found.append(Change({**settings, **liger}, f"{what}, Liger's kernels", "how norms are rounded"))
    return found


def _batch(one: int, many: int) -> dict[str, Any]:
    return {MICRO_BATCH: one, ACCUMULATION: many}


def first_that_fits(changes: Sequence[Change], plans: Sequence[Plan | str]) -> tuple[Change, Plan] | None:
    """The first change whose plan fits, with it."""
    for change, plan in zip(changes, plans, strict=True):
        if isinstance(plan, Plan) and plan.fits:
            return change, plan
    return None
