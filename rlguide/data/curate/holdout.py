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
    if fewest <= max(wanted * MOST_OVER, min(rows * MOST_SHARE, DEFAULT_LIMIT)):
        return [next(at for at, count in enumerate(counts) if count == fewest)], ""
    enough = math.ceil(100 * fewest / rows) / 100
    return [], (
        f"there are {len(counts):,} prompts with {fewest:,} rows or more each, and {wanted:,}"
        f" {'row is' if wanted == 1 else 'rows are'} wanted (--test-size {enough:g} takes a whole one)"
    )
