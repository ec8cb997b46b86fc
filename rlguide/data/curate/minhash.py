"""Duplicates among millions of rows: exact (but for case, white space and punctuation) or nearly so.

Near duplicates are found by one-permutation MinHash (Li, Owen, Zhang 2012; empty bins filled as in Shrivastava and Li
2014) over runs of five characters, which suits Chinese as it does English, and banding (Leskovec et al., Mining of
Massive Datasets, chapter 3). Memory per row: 150 bytes; no text is kept.
"""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    Accept = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]


SHINGLE = 5  # characters: about one English word, two to three Chinese ones
BINS = 64
BANDS = 8  # of 8 bins each: rows alike in 9 of 10 shingles meet with 99 %, strangers practically never
# Share of bins that must agree. Measured: rows alike (Jaccard) in 0.9 of their shingles are found in 98 of 100 cases,
# in 0.83 in 50, in 0.75 in 12; strangers never.
ALIKE = 0.82
LEAST = 40  # characters: shorter texts must be equal; one word makes too much of them
ROUNDS = 6  # how many different rows one group of a band is compared with
BATCH = 1 << 18  # characters: the arrays of one batch stay within a processor's cache
BETWEEN = "\x1f"  # stands between the texts of a row
# What may differ between equal texts. Not signs that carry meaning in sums and code: + - * / = < > % # _ and so on.
_PUNCTUATION = ".,;:!?\"'`()[]…·，。、；：？！「」『』“”‘’（）《》〈〉【】～"
_SPACES = str.maketrans(dict.fromkeys(_PUNCTUATION, " "))


def normalise(text: str) -> str:
    """The text as it is compared: NFKC, lower case, punctuation as spaces, runs of white space as one space."""
    if text.isascii():
        return " ".join(text.lower().translate(_SPACES).split())
    text = unicodedata.normalize("NFKC", text).lower()
    for mark in _PUNCTUATION:  # three times as fast here as translate, which is quick on ASCII only
        if mark in text:
            text = text.replace(mark, " ")
    return " ".join(text.split())


class Fingerprints:
    """Takes rows one by one and tells which are duplicates of an earlier one."""

    def __init__(self) -> None:
        self._exact = array("q")
        self._waiting: list[str] = []
        self._waiting_characters = 0
        # Bytes that grow in place: joining arrays would need the memory twice.
        self._bins, self._bands, self._digits = bytearray(), bytearray(), bytearray()

    def __len__(self) -> int:
        return len(self._exact)

    def add(self, texts: Sequence[str]) -> None:
        """Add a row by its texts, in an order that is the same for all rows."""
        row = BETWEEN.join(map(normalise, texts))
        self._exact.append(hash(row))
        self._waiting.append(row)
        self._waiting_characters += len(row)
        if self._waiting_characters >= BATCH or len(self._waiting) >= BATCH // 64:
            self._flush()

    def earlier(
        self, near: bool = True, same: Sequence[NDArray[np.int64]] = (), accept: Accept | None = None
    ) -> NDArray[np.int64]:
        """For each row the index of an earlier row that it is a duplicate of, -1 if none; an exact one if there is.

        Args:
            near: near duplicates count, too.
            same: hashes of parts of the rows; a near duplicate must have at least one of these in common.
            accept: has the last word on near duplicates: given rows and as many earlier ones, which pairs count.
        """
        import numpy as np

        found = earlier_equal(np.frombuffer(self._exact, dtype=np.int64) if len(self) else np.empty(0, np.int64))
        if not near or not len(self):
            return found
        self._flush()
        bins = np.frombuffer(self._bins, np.uint8).reshape(-1, BINS)
        bands = np.frombuffer(self._bands, np.uint64).reshape(-1, BANDS)
        prints = _Prints(bins, bands, np.frombuffer(self._digits, np.uint64))
        for part in same or (np.zeros(len(self), np.int64),):
            _add_near(found, prints, part, accept)
        return found

    def _flush(self) -> None:
        if self._waiting:
            prints = _prints(self._waiting)
            self._bins += prints.bins.tobytes()
            self._bands += prints.bands.tobytes()
            self._digits += prints.digits.tobytes()
            self._waiting, self._waiting_characters = [], 0


@dataclass(frozen=True)
class _Prints:
    """What is kept of rows: a byte of each bin, a hash of each band (0: too short), a hash of the digits."""

    bins: NDArray[np.uint8]
    bands: NDArray[np.uint64]
    digits: NDArray[np.uint64]


def _prints(rows: list[str]) -> _Prints:
    import numpy as np

    text = np.frombuffer("".join(rows).encode("utf-32-le", "surrogatepass"), np.uint32)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    row_of = np.repeat(np.arange(len(rows), dtype=np.int64), lengths)
    smallest = _smallest(text, row_of, len(rows))
    weights = np.random.default_rng(5).integers(1, 1 << 63, BINS // BANDS, dtype=np.uint64) | np.uint64(1)
    grouped = smallest.reshape(len(rows), BANDS, BINS // BANDS).astype(np.uint64)
    bands = _mixed64((grouped * weights).sum(axis=2, dtype=np.uint64))
    bands[[len(row) < LEAST for row in rows]] = 0
    bins = (smallest * np.uint32(2654435761) >> np.uint32(24)).astype(np.uint8)
    return _Prints(bins, bands, _digits(text, row_of, len(rows)))


def _smallest(text: NDArray[np.uint32], row_of: NDArray[np.int64], rows: int) -> NDArray[np.uint32]:
    """The smallest hash of a row's shingles in each bin; `row_of` has the row of each character."""
    import numpy as np

    empty = np.uint32(0xFFFFFFFF)
    flat = np.full(rows * BINS, empty, np.uint32)
    if len(text) >= SHINGLE:
        hashes = _shingles(text)
        inside = row_of[: len(hashes)] == row_of[SHINGLE - 1 :]  # not across the end of a row
        hashes, row = hashes[inside], row_of[: len(hashes)][inside]
        np.minimum.at(flat, row * BINS + (hashes >> np.uint32(26)), hashes & np.uint32(0x03FFFFFF))
    smallest: NDArray[np.uint32] = flat.reshape(rows, BINS)
    for step in (1, 2, 4, 8, 16, 32):  # an empty bin takes what the next one that is not empty has
        bare = smallest == empty
        if not bare.any():
            break
        smallest = np.where(bare, np.roll(smallest, -step, axis=1), smallest)
    return smallest


def _digits(text: NDArray[np.uint32], row_of: NDArray[np.int64], rows: int) -> NDArray[np.uint64]:
    """A hash of a row's digits in their order."""
    import numpy as np

    digit = (text >= ord("0")) & (text <= ord("9"))
    values, row = text[digit].astype(np.uint64), row_of[digit]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    sums = np.zeros(rows, np.uint64)
    np.add.at(sums, row, _mixed64(values + np.uint64(256) * place.astype(np.uint64)))
    return sums


def _shingles(text: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A well mixed hash of every run of five characters (multiplications wrap around)."""
    import numpy as np

    two = text[:-1] * np.uint32(0x9E3779B1) + text[1:]
    four = two[:-2] * np.uint32(0x85EBCA77) + two[2:]
    five = four[:-1] * np.uint32(0xC2B2AE3D) + text[4:]
    five ^= five >> np.uint32(15)  # the last steps are those of MurmurHash3
    five *= np.uint32(0x85EBCA6B)
    five ^= five >> np.uint32(13)
    five *= np.uint32(0xC2B2AE35)
    five ^= five >> np.uint32(16)
    return five


def _mixed64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    import numpy as np

    values ^= values >> np.uint64(32)
    values *= np.uint64(0xD6E8FEB86659FD93)
    values ^= values >> np.uint64(32)
    return values | np.uint64(1)


def earlier_equal(values: NDArray[Any]) -> NDArray[np.int64]:
    """For each value the index of its first occurrence, -1 for the first itself."""
    import numpy as np

    _, first, group = np.unique(values, return_index=True, return_inverse=True)
    found: NDArray[np.int64] = first[group]
    found[first] = -1
    return found


def _add_near(found: NDArray[np.int64], prints: _Prints, part: NDArray[np.int64], accept: Accept | None = None) -> None:
    """Enter near duplicates among rows with equal `part` into `found` where nothing is found yet, band by band."""
    import numpy as np

    part_keys = _mixed64(part.astype(np.uint64))
    for band in range(BANDS):
        rows = np.flatnonzero(prints.bands[:, band])
        keys = prints.bands[rows, band] ^ part_keys[rows]
        order = np.argsort(keys, kind="stable")
        rows, keys = rows[order], keys[order]
        for _ in range(ROUNDS):
            if len(rows) < 2:
                break
            first = np.ones(len(rows), bool)
            first[1:] = keys[1:] != keys[:-1]
            leaders = rows[np.maximum.accumulate(np.where(first, np.arange(len(rows)), 0))]
            members, leaders = rows[~first], leaders[~first]
            near = _alike(prints, members, leaders)
            if accept is not None:
                near[near] = accept(members[near], leaders[near])
            fresh = near & (found[members] < 0)
            found[members[fresh]] = leaders[fresh]
            rows, keys = members[~near], keys[~first][~near]  # the next round compares them with the next row left


def _alike(prints: _Prints, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether rows agree in enough bins, and in all their digits: other numbers make another prompt."""
    import numpy as np

    alike: NDArray[np.bool_] = prints.digits[left] == prints.digits[right]
    for start in range(0, len(left), 1 << 16):
        part = slice(start, start + (1 << 16))
        agreed = np.count_nonzero(prints.bins[left[part]] == prints.bins[right[part]], axis=1)
        alike[part] &= agreed >= ALIKE * BINS
    return alike
