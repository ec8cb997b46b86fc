"""Lists and objects that stand in a cell as text."""

from __future__ import annotations

import numpy as np

from rlguide.data.cells.packed import unpacked

GOOD, BAD = "An oak, by the gate.", "I'd rather not say."


def test_printed_numpy_arrays_are_lists() -> None:
    for texts in ([GOOD, BAD], ["one\nline 'and' \"more\"", "x" * 200, "[3]"], ["alone"]):
        assert unpacked(str(np.array(texts))) == texts
        assert unpacked(str(np.array(texts, dtype=object))) == texts
    assert unpacked(str(np.array([0.5, -1.0, 3e-7]))) == [0.5, -1.0, 3e-7]
    assert unpacked(repr(np.array([{"role": "user", "content": "array(["}], dtype=object))) == [
        {"role": "user", "content": "array(["}
    ]
    for text in ("[hello there]", "[see 1 2]", "[1 ... 9]", "['a' + 'b']", "array(['a'] * 9)", "[--]"):
        assert unpacked(text) is None
