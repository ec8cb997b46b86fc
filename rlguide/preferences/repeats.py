"""Which rows say the same as an earlier one, exactly or nearly so: what `--dedupe` leaves out and `inspect` counts.

Texts that are alike as a whole are not enough: with a long context, four questions and their short answers are nearly
the same text. A near repeat must have its whole prompt or its answers word for word in common with the earlier row, and
the answers must not be swapped, nor the label be the other one: that is a contradiction, not a repeat.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from rlguide.preferences.columns import Example
from rlguide.preferences.duplicates import Fingerprints, normalise
from rlguide.preferences.pair import Pair

if TYPE_CHECKING:
    import numpy as np


class Repeats:
    """Takes rows in order and tells which repeat an earlier one.

    Args:
        near: also find near repeats (five times the work; about 170 bytes a row, else 32).
    """

    def __init__(self, near: bool = True) -> None:
        self._near = near
        self._whole = Fingerprints(near)
        self._labelled = False
        self._parts = {part: array("q") for part in ("prompt", "chosen", "rejected")}

    def __len__(self) -> int:
        return len(self._whole)

    def add(self, example: Example) -> None:
        """Add a row. All that is said in it counts, and a label."""
        prompt = [example.system, *(turn.value for turn in example.messages)]
        if isinstance(example, Pair):
            chosen, rejected = example.chosen, example.rejected
        else:
            chosen, rejected, self._labelled = example.answer, str(example.desirable), True
        self._whole.add([*prompt, chosen, rejected])
        for part, text in (("prompt", "\0".join(prompt)), ("chosen", chosen), ("rejected", rejected)):
            self._parts[part].append(hash(normalise(text)))

    def earlier(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """For each row the index of an earlier one that it repeats, -1 if there is none: the first one stays."""
        import numpy as np

        found = self._whole.earlier(near=False)
        if not self._near or not len(self):
            return found
        candidates = self._whole.earlier(near=True)
        rows = np.flatnonzero((found < 0) & (candidates >= 0))
        others = candidates[rows]
        prompt, chosen, rejected = (np.frombuffer(part, dtype=np.int64) for part in self._parts.values())
        same_answers = (chosen[rows] == chosen[others]) & (rejected[rows] == rejected[others])
        swapped = (chosen[rows] == rejected[others]) | (rejected[rows] == chosen[others])
        alike = ((prompt[rows] == prompt[others]) | same_answers) & ~swapped
        if self._labelled:
            alike &= rejected[rows] == rejected[others]
        found[rows[alike]] = others[alike]
        return found
