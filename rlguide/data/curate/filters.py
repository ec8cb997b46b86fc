"""Which of the good rows are wanted: filters that `register` and `download` share, recorded in the manifest."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlguide.data.curate.language import check_languages, languages
from rlguide.data.example import KIND_NAMES, Example, ExampleKind
from rlguide.errors import UsageError

if TYPE_CHECKING:
    import numpy as np


DUPLICATE = "duplicate of an earlier one (--dedupe)"
UNBALANCED = "too many of its kind, longer or shorter chosen response (--balance-length)"
NOT_DRAWN = "not drawn (--max-samples)"
LENGTH_STEP = 1.25  # --balance-length compares pairs whose lengths differ by about the same factor


@dataclass(frozen=True)
class Filters:
    """What is left out of good data. The defaults leave everything in.

    dedupe: duplicates of an earlier row, exact or nearly so. min_margin: pairs whose score of chosen is not at least
    this much above that of rejected, or that have no scores. max_length: characters of the whole conversation with
    its longest response. lang: ISO 639-1 code of the language that the response must be in, or that the prompt must be
    in if it asks for another one (a translation, say); or several with commas.
    balance_length: as many pairs whose chosen response is the longer one as pairs where it is the shorter one.
    max_samples: rows kept, drawn with `seed`.
    """

    dedupe: bool = False
    min_margin: float | None = None
    max_length: int | None = None
    lang: str | None = None
    balance_length: bool = False
    max_samples: int | None = None
    seed: int = 42

    @property
    def need_all_rows(self) -> bool:
        """Whether it shows only at the end which rows are kept."""
        return self.dedupe or self.balance_length or self.max_samples is not None

    @property
    def look_at_rows(self) -> bool:
        """Whether any filter looks at one row alone."""
        return self.min_margin is not None or self.max_length is not None or self.lang is not None

    def satisfied(self, rows: int) -> bool:
        """Whether that many rows are enough to draw `max_samples` from, whatever comes after them."""
        return self.max_samples is not None and rows >= self.max_samples and not self.dedupe and not self.balance_length

    def check(self, kind: ExampleKind) -> None:
        """Raises UsageError for a value that cannot be meant, or a filter of pairs given for single responses."""
        if not 0 <= self.seed < 1 << 63:
            raise UsageError(f"--seed {self.seed} is not a number from 0 up to 2^63", "give for example 42")
        if self.max_samples is not None and self.max_samples < 2:
            raise UsageError(
                "--max-samples must be 2 or more: one to train on, one to hold out", "give a larger number"
            )
        if self.max_length is not None and self.max_length < 1:
            raise UsageError("--max-length must be 1 or more characters", "give for example 8000")
        if self.min_margin is not None and not math.isfinite(self.min_margin):
            raise UsageError(f"--min-margin {self.min_margin} is not a number", "give for example 1")
        if self.lang is not None:
            check_languages(self.lang)
        if kind != "pairs" and (self.min_margin is not None or self.balance_length):
            option = "--balance-length" if self.balance_length else "--min-margin"
            raise UsageError(
                f"{option} compares two responses, and these are {KIND_NAMES[kind]}", f"leave out {option}"
            )

    def objection(self, example: Example) -> str | None:
        """Why one row is not wanted, None if it is."""
        if self.min_margin is not None:
            if example.scores is None:
                return "has no scores (--min-margin)"
            if example.scores[0] - example.scores[1] < self.min_margin:
                return f"its margin is below {self.min_margin:g} (--min-margin)"
        if self.max_length is not None and length(example) > self.max_length:
            return f"is longer than {self.max_length:,} characters (--max-length)"
        if self.lang is not None:
            from rlguide.data.curate.requested import requested_in, response_language

            wanted = languages(self.lang)
            found = response_language(example)
            if found not in wanted and requested_in(example, found) not in wanted:
                return f"is not in {self.lang} (--lang)"
        return None


def length(example: Example) -> int:
    """Characters of the whole conversation with its longest response."""
    messages, responses, system, _, _ = example
    characters = len(system) + max(map(len, responses))
    for _, value in messages:  # in half the time of sum()
        characters += len(value)
    return characters


def balanced(lengths: Any, seed: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which pairs to keep so that the chosen response is the longer one in half of them.

    Pairs are compared within classes of about the same ratio of lengths, so that the responses differ as much in length
    on one side as on the other; what is too many on one side is left out at random. Pairs of equal lengths stay.

    Args:
        lengths: array (rows, 2) of the characters of chosen and rejected.
    """
    import numpy as np

    ratio = np.log((lengths[:, 0] + 1) / (lengths[:, 1] + 1)) / np.log(LENGTH_STEP)
    classes = np.sign(ratio) * np.ceil(np.abs(ratio))
    keep = np.ones(len(lengths), dtype=bool)
    chance = random.Random(seed)
    for size in np.unique(np.abs(classes[classes != 0])):
        longer, shorter = np.flatnonzero(classes == size), np.flatnonzero(classes == -size)
        more, wanted = (longer, len(shorter)) if len(longer) > len(shorter) else (shorter, len(longer))
        keep[chance.sample(more.tolist(), len(more) - wanted)] = False
    return keep


def drawn(keep: Any, count: int, seed: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """`count` of the rows that are kept so far, drawn at random; all of them if they are not more."""
    import numpy as np

    there = np.flatnonzero(keep)
    if len(there) <= count:
        return np.asarray(keep)
    result = np.zeros(len(keep), dtype=bool)
    result[random.Random(seed).sample(there.tolist(), count)] = True
    return result
