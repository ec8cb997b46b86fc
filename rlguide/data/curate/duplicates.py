"""Which rows are duplicates of an earlier one, exactly or nearly so: what `--dedupe` drops and `inspect` counts.

Texts that are alike as a whole are not enough: with a long context, four prompts and their short responses are nearly
the same text. A near duplicate must have its whole prompt or its responses word for word in common with the earlier
row, and the responses must not be swapped, nor the label be the other one: that is a contradiction, not a duplicate.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from rlguide.data.curate.minhash import Fingerprints, normalise
from rlguide.data.example import Example

if TYPE_CHECKING:
    import numpy as np

    Indices = np.ndarray[Any, np.dtype[np.int64]]


class DuplicateFinder:
    """Takes examples in order and tells which are duplicates of an earlier one; about 170 bytes a row."""

    def __init__(self) -> None:
        self._whole = Fingerprints()
        self._labels = False
        self._found: Indices | None = None
        self._parts = (array("q"), array("q"), array("q"))  # hashes of prompt, chosen, rejected (or the label)

    def __len__(self) -> int:
        return len(self._whole)

    def add(self, example: Example) -> None:
        """Add an example. All that is said in it counts, and a label."""
        self._found = None
        prompt = [example.system, *(turn.value for turn in example.messages)]
        responses = list(example.responses)
        if example.label is not None:
            self._labels = True
            responses.append(str(example.label))
        self._whole.add([*prompt, *responses])
        if len(responses) < 2:
            responses.append("")  # no second response, and no label
        for part, text in zip(self._parts, ("\0".join(prompt), *responses), strict=True):
            part.append(hash(normalise(text)))

    def earlier(self, start: int = 0, rows: int | None = None) -> Indices:
        """For each row the index of an earlier one that it is a duplicate of, -1 if there is none: the first one stays.

        Args:
            start, rows: for these rows only; rows None: for all from `start` on.
        """
        if self._found is None:
            self._found = self._compare()
        return self._found[start:] if rows is None else self._found[start : start + rows]

    def _compare(self) -> Indices:
        import numpy as np

        prompt, chosen, rejected = (np.array(part, dtype=np.int64) for part in self._parts)

        def accept(rows: Indices, others: Indices) -> np.ndarray[Any, np.dtype[np.bool_]]:
            contradicts: np.ndarray[Any, np.dtype[np.bool_]]
            if self._labels:
                contradicts = rejected[rows] != rejected[others]
            else:
                contradicts = (chosen[rows] == rejected[others]) | (rejected[rows] == chosen[others])
            return ~contradicts

        return self._whole.earlier(same=(prompt, chosen * 31 + rejected), accept=accept)
