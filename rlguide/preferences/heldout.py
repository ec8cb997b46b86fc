"""How much of a dataset is held out for evaluation, and which of its prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_SHARE = 0.05
DEFAULT_LIMIT = 2000  # rows: enough for a confidence interval of about 2 points on an accuracy
MOST_OVER = 2  # times the rows wanted: what one prompt may have that is held out although it is too large


@dataclass(frozen=True)
class Split:
    """How much of the rows is held out: a share (None: 5 %, at most 2,000 rows), of about `expected` rows if known."""

    share: float | None = None
    expected: int | None = None

    def wanted(self, rows: int) -> int:
        """Rows to hold out of `rows`."""
        if self.share == 0:
            return 0
        if self.share is None:
            return min(max(1, round(rows * DEFAULT_SHARE)), DEFAULT_LIMIT)
        return max(1, round(rows * self.share))


NO_SPLIT = Split(share=0)


def choose(counts: Sequence[int], wanted: int, others: bool) -> tuple[list[int], str]:
    """Which prompts to hold out, and why there are none: whole prompts, the first that fit, and never all.

    If even the smallest prompt is much more than what is wanted, nothing is held out.

    Args:
        counts: rows of each prompt. wanted: rows to hold out. others: there are more prompts, which must not be held
            out.
    """
    if wanted == 0:
        return [], ""
    if len(counts) + others < 2:
        return [], "there is only one question"
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
    if fewest <= wanted * MOST_OVER:
        return [next(at for at, count in enumerate(counts) if count == fewest)], ""
    return [], (
        f"there are {len(counts):,} questions with {fewest:,} rows or more each, and {wanted:,}"
        f" {'row is' if wanted == 1 else 'rows are'} wanted (a larger --test-size takes a whole question)"
    )
