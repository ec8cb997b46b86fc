"""How much of a dataset is held out for evaluation, and which of its prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_SHARE = 0.05
DEFAULT_LIMIT = 2000  # rows: enough for a confidence interval of about 2 points on an accuracy
# What a prompt may have that is held out although it has more rows than wanted: so many times those, or this share of
# all rows (and no more than the limit).
MOST_OVER, MOST_SHARE = 2, 0.2


@dataclass(frozen=True)
class Split:
    """How much of the rows is held out: a share (None: 5 %, at most 2,000 rows), of about `expected` rows if known.

    With a share of 1 all of them are a held-out set already.
    """

    share: float | None = None
    expected: int | None = None

    def wanted(self, rows: int) -> int:
        """Rows to hold out of `rows`."""
        if self.share in (0, 1):
            return 0
        if self.share is None:
            return min(max(1, round(rows * DEFAULT_SHARE)), DEFAULT_LIMIT)
        return max(1, round(rows * self.share))


NO_SPLIT, ALL_HELDOUT = Split(share=0), Split(share=1)


def choose(counts: Sequence[int], wanted: int, rows: int) -> tuple[list[int], str]:
    """Which prompts to hold out, and why there are none: whole prompts, the first that fit, and never all.

    If even the smallest prompt is much more than what is wanted, nothing is held out.

    Args:
        counts: rows of each prompt that may be held out. wanted: rows to hold out. rows: all rows.
    """
    others = rows > sum(counts)
    if wanted == 0:
        return [], ""
    if len(counts) + others < 2:
        return [], "there is only one prompt"
    chosen, taken = [], 0
    for at in range(len(counts) - (not others)):
        if taken + counts[at] <= wanted:
            chosen.append(at)
            taken += counts[at]
        if taken >= wanted:
            break
    if chosen:
        return chosen, ""
    fewest = int(min(counts))
    if fewest <= _most(wanted, rows):
        return [next(at for at, count in enumerate(counts) if count == fewest)], ""
    return [], (
        f"there are {len(counts):,} prompts with {fewest:,} rows or more each, and {_are_wanted(wanted)}"
        f" ({_enough(fewest, rows)} takes a whole one)"
    )


def _most(wanted: int, rows: int) -> float:
    """The most rows that may be held out in place of those wanted."""
    return max(wanted * MOST_OVER, min(rows * MOST_SHARE, DEFAULT_LIMIT))


def _are_wanted(wanted: int) -> str:
    return f"{wanted:,} {'row is' if wanted == 1 else 'rows are'} wanted"


def _enough(rows: int, of: int) -> str:
    return f"--test-size {math.ceil(100 * rows / of) / 100:g}"


def choose_labelled(counts: Sequence[int], desirable: Sequence[int], wanted: int) -> tuple[list[int], str]:
    """Like `choose` for labelled responses: where there are desirable and undesirable ones, both sides have both.

    KTO compares the two kinds, so neither a training nor an evaluation on one of them alone says anything.

    Args:
        counts: rows of each prompt. desirable: those of them that are labelled so. wanted: rows to hold out.
    """
    kinds = [list(desirable), [all_ - good for all_, good in zip(counts, desirable, strict=True)]]
    rows, prompts = sum(counts), [sum(map(bool, kind)) for kind in kinds]
    if wanted == 0 or len(counts) < 2 or not all(prompts):
        return choose(counts, wanted, rows)
    for name, kind, with_it in zip(("desirable", "undesirable"), kinds, prompts, strict=True):
        if with_it == 1:
            count = "the only" if sum(kind) == 1 else f"all {sum(kind):,}"
            belongs = "response belongs" if sum(kind) == 1 else "responses belong"
            return [], f"{count} {name} {belongs} to one prompt, and both training and evaluation need some"
    chosen, _ = choose(counts, wanted, rows)
    if chosen and all(0 < sum(map(kind.__getitem__, chosen)) < sum(kind) for kind in kinds):
        return chosen, ""
    core = _with_both(counts, kinds)
    size = sum(map(counts.__getitem__, core))
    if size > _most(wanted, rows):
        what = f"the fewest prompts with both desirable and undesirable responses have {size:,} rows"
        return [], f"{what}, and {_are_wanted(wanted)} ({_enough(size, rows)} takes them)"
    return _filled(core, counts, kinds, wanted), ""


def _with_both(counts: Sequence[int], kinds: Sequence[Sequence[int]]) -> list[int]:
    """The smallest choice that has both kinds: a prompt with both, or two with one each."""
    good, bad = kinds
    mixed = [at for at in range(len(counts)) if good[at] and bad[at]]
    alone = [[at for at in range(len(counts)) if not other[at]] for other in (bad, good)]
    choices = [[min(mixed, key=counts.__getitem__)]] if mixed else []
    if all(alone):
        choices.append([min(some, key=counts.__getitem__) for some in alone])
    return min(choices, key=lambda choice: sum(map(counts.__getitem__, choice)))


def _filled(core: list[int], counts: Sequence[int], kinds: Sequence[Sequence[int]], wanted: int) -> list[int]:
    """The core with the first prompts that fit, but for those that are the last with a kind to train on."""
    chosen, taken = set(core), sum(map(counts.__getitem__, core))
    left = [sum(kind) - sum(map(kind.__getitem__, core)) for kind in kinds]
    for at, count in enumerate(counts):
        if taken >= wanted:
            break
        rest = [many - kind[at] for many, kind in zip(left, kinds, strict=True)]
        if at not in chosen and taken + count <= wanted and all(rest):
            chosen.add(at)
            taken, left = taken + count, rest
    return sorted(chosen)
