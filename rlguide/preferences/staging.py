"""Checked pairs on their way to disk: counted, sampled and split without being held in memory.

The first pass appends lines to a temporary file and keeps eight bytes a row, a hash of its prompt. When all rows
are there, it is known how many they are, and the second pass copies each line to the training or held-out file.
"""

from __future__ import annotations

import hashlib
import heapq
import random
import tempfile
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import TracebackType

from rlguide import console
from rlguide.errors import RlguideError
from rlguide.preferences.labelled import Labelled
from rlguide.preferences.order import spread
from rlguide.preferences.pair import Pair
from rlguide.preferences.progress import Ticker
from rlguide.workspace import atomic_write

LONG_ORDER = 500_000  # rows: ordering takes 2.5 s for a million
DEFAULT_TEST_SIZE = 0.05
DEFAULT_TEST_LIMIT = 2000  # pairs: enough for a confidence interval of about 2 points on an accuracy


@dataclass(frozen=True)
class Written:
    """A data file that was written: `bytes` long, with `rows` lines, of which `desirable` are labelled so."""

    path: Path
    rows: int
    bytes: int
    sha256: str
    desirable: int = 0


class Staging:
    """Lines in a temporary file in `folder`, at most `limit` of them, drawn at random with `seed`.

    With `apart`, what is written is shuffled so that rows of one prompt are no neighbours (see `order`); else the
    order stays. Use it as a context manager: the temporary file goes when the block ends, however it ends.
    """

    def __init__(self, folder: Path, name: str, seed: int = 0, limit: int | None = None, apart: bool = False) -> None:
        self._folder = folder
        self._name = name
        self._key = seed.to_bytes(16, "big", signed=True)
        self._random = random.Random(seed)
        self._seed = seed
        self._apart = apart
        self._limit = limit
        self._hashes = array("Q")
        self._offsets = array("Q")  # where each line begins; kept only for another order
        self._end = 0
        self._desirable = bytearray()  # 1 for a row with that label
        self._dropped: set[int] = set()
        self._sample: list[tuple[float, int]] = []  # a heap: the live row that goes next is on top

    def __enter__(self) -> Staging:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.NamedTemporaryFile(dir=self._folder, prefix=f".{self._name}.rows-", suffix=".tmp")
        except OSError as error:
            raise _cannot_write(self._folder, error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError:
            pass  # a full disk again, on the last flush; the first one has been reported

    def __len__(self) -> int:
        return len(self._hashes) - len(self._dropped)

    def hash(self, pair: Pair | Labelled) -> int:
        """64 bits that depend on the prompt and the seed only."""
        digest = hashlib.blake2b(pair.prompt_key.encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big")

    def add(self, pair: Pair | Labelled, line: bytes) -> None:
        """Keep the row, unless the sample is full and this one is not drawn. Raises RlguideError: disk full."""
        index = len(self._hashes)
        if self._limit is not None:
            rank = self._random.random()
            if len(self._sample) < self._limit:
                heapq.heappush(self._sample, (rank, index))
            elif rank < self._sample[0][0]:
                return
            else:
                self._dropped.add(heapq.heapreplace(self._sample, (rank, index))[1])
        try:
            self._file.write(line)
        except OSError as error:
            raise _cannot_write(self._folder, error) from error
        self._hashes.append(self.hash(pair))
        self._desirable.append(isinstance(pair, Labelled) and pair.desirable)
        if self._apart:
            self._offsets.append(self._end)
            self._end += len(line)

    def hashes(self) -> Iterator[int]:
        """The prompt hashes of the rows that are kept, in order."""
        return (value for index, value in enumerate(self._hashes) if index not in self._dropped)

    def choose_heldout(self, share: float | None) -> set[int]:
        """Prompt hashes of the held-out rows: whole prompts, so that no prompt lies on both sides.

        About `share` of the rows (default 5 %, at most 2,000), at least one prompt and never all of them; empty
        if `share` is 0 or there is only one prompt.
        """
        if share == 0:
            return set()
        ordered = [(value, len(list(group))) for value, group in groupby(sorted(self.hashes()))]
        if len(ordered) < 2:
            return set()
        wanted = max(1, round(len(self) * (DEFAULT_TEST_SIZE if share is None else share)))
        if share is None:
            wanted = min(wanted, DEFAULT_TEST_LIMIT)
        chosen: set[int] = set()
        taken = 0
        for value, count in ordered[:-1]:
            if taken + count <= wanted:
                chosen.add(value)
                taken += count
            if taken >= wanted:
                break
        return chosen or {min(ordered, key=lambda item: item[1])[0]}  # every prompt has more rows than wanted

    def write(self, path: Path, keep: Callable[[int], bool]) -> Written:
        """Write the lines whose prompt hash is kept to `path`, atomically. Raises RlguideError: disk full."""
        digest = hashlib.sha256()
        rows = size = desirable = 0
        try:
            self._file.flush()
        except OSError as error:
            raise _cannot_write(self._folder, error) from error
        ticker = Ticker(f"writing {path.name}", "rows", len(self._hashes))
        with atomic_write(path, "wb") as output, ticker:
            for done, (index, line) in enumerate(self._lines(keep)):
                ticker.update(done)
                output.write(line)
                digest.update(line)
                rows += 1
                size += len(line)
                desirable += self._desirable[index]
        return Written(path, rows, size, digest.hexdigest(), desirable)

    def _lines(self, keep: Callable[[int], bool]) -> Iterator[tuple[int, bytes]]:
        """Index and line of the rows that are kept, in the order in which they are written."""
        self._file.seek(0)
        if not self._apart:
            for index, line in enumerate(self._file):
                if index not in self._dropped and keep(self._hashes[index]):
                    yield index, line
            return
        kept = array("Q", (i for i, value in enumerate(self._hashes) if i not in self._dropped and keep(value)))
        if len(kept) > LONG_ORDER:
            console.say(f"  ordering {len(kept):,} rows so that none is beside another of its prompt")
        for position in spread(array("Q", (self._hashes[index] for index in kept)), self._seed):
            index = kept[position]
            self._file.seek(self._offsets[index])
            yield index, self._file.readline()


def remove_leftovers(folder: Path, name: str) -> None:
    """Delete the temporary files of a run that was killed. The caller holds the dataset's lock."""
    import glob

    for prefix in (f".{name}.rows-", f".{name}_test.rows-", f".{name}.jsonl.", f".{name}_test.jsonl."):
        for left_over in folder.glob(glob.escape(prefix) + "*.tmp"):
            left_over.unlink(missing_ok=True)


def _cannot_write(folder: Path, error: OSError) -> RlguideError:
    return RlguideError(
        f"cannot write in {folder}: {error.strerror or error}", "free some disk space, then run the same command again"
    )
