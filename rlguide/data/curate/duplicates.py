"""Which rows say the same as an earlier one, exactly or nearly so: what `--dedupe` leaves out and `inspect` counts.

Texts that are alike as a whole are not enough: with a long context, four questions and their short answers are nearly
the same text. A near repeat must have its whole prompt or its answers word for word in common with the earlier row, and
the answers must not be swapped, nor the label be the other one: that is a contradiction, not a repeat.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from rlguide.data.curate.minhash import Fingerprints, normalise
from rlguide.data.example import Example, Pair

if TYPE_CHECKING:
    import numpy as np

    Indices = np.ndarray[Any, np.dtype[np.int64]]


class DuplicateFinder:
    """Takes rows in order and tells which repeat an earlier one.

    Args:
        near: also find near repeats (five times the work; about 170 bytes a row, else 32).
    """

    def __init__(self, near: bool = True) -> None:
        self._near = near
        self._whole = Fingerprints(near)
        self._labelled = False
        self._found: Indices | None = None
        self._parts = {part: array("q") for part in ("prompt", "chosen", "rejected")}

    def __len__(self) -> int:
        return len(self._whole)

    def add(self, example: Example) -> None:
        """Add a row. All that is said in it counts, and a label."""
        self._found = None
        prompt = [example.system, *(turn.value for turn in example.messages)]
        if isinstance(example, Pair):
            chosen, rejected = example.chosen, example.rejected
        else:
            chosen, rejected, self._labelled = example.answer, str(example.desirable), True
        self._whole.add([*prompt, chosen, rejected])
        for part, text in (("prompt", "\0".join(prompt)), ("chosen", chosen), ("rejected", rejected)):
            self._parts[part].append(hash(normalise(text)))

    def earlier(self, start: int = 0, rows: int | None = None) -> Indices:
        """For each row the index of an earlier one that it repeats, -1 if there is none: the first one stays.

        Args:
            start, rows: for these rows only; rows None: for all from `start` on.
        """
        if self._found is None:
            self._found = self._compare() if self._near else self._whole.earlier(near=False)
        return self._found[start:] if rows is None else self._found[start : start + rows]

    def _compare(self) -> Indices:
        import numpy as np

        prompt, chosen, rejected = (np.array(part, dtype=np.int64) for part in self._parts.values())

        def accept(rows: Indices, others: Indices) -> np.ndarray[Any, np.dtype[np.bool_]]:
            contradicts: np.ndarray[Any, np.dtype[np.bool_]]
            if self._labelled:  # `rejected` is the label
                contradicts = rejected[rows] != rejected[others]
            else:
                contradicts = (chosen[rows] == rejected[others]) | (rejected[rows] == chosen[others])
            return ~contradicts

        return self._whole.earlier(near=True, same=(prompt, chosen * 31 + rejected), accept=accept)
