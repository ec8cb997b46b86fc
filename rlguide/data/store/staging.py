"""Checked rows on their way to disk: filtered and split without being held in memory.

Which rows are held out, or kept at all, often shows only when all rows are there. Such rows go to a temporary Arrow
file first, with eight bytes a row in memory (a hash of the prompt), and are copied to the training or held-out file at
the end. Of a large file most rows need not wait: the held-out prompts are those with the lowest hashes, so a row with
a high hash goes straight to the training file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlguide import console
from rlguide.data.curate.duplicates import DuplicateFinder
from rlguide.data.curate.filters import DUPLICATE, NOT_DRAWN, UNBALANCED, Filters, balanced, drawn, length
from rlguide.data.curate.holdout import ALL_HELDOUT, NO_SPLIT, Split, choose, choose_labelled
from rlguide.data.curate.kto_order import BLOCK, spread
from rlguide.data.example import Example, ExampleKind, Turn, prompt_key
from rlguide.data.store.columns import messages, schema, to_batch
from rlguide.data.store.parquet_writer import ParquetOutput, Written, writing_in
from rlguide.data.store.row_counts import RowCounts
from rlguide.progress import Ticker

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Flags = np.ndarray[Any, np.dtype[np.bool_]]

    Hashes = np.ndarray[Any, np.dtype[np.uint64]]


BATCH_ROWS, BATCH_CHARACTERS = 1024, 4_000_000
LARGE = 20_000  # rows: from here on most need not wait
PROBE = 5_000  # rows that tell whether prompts are many; few prompts with many rows each all wait
SPARE = 2.0  # candidates for the held-out rows, over the rows wanted: 30 standard deviations at 1,000 rows
WINDOW, WINDOW_BYTES = 20 * BLOCK, 64_000_000  # labelled rows that are put in order at a time: whole blocks
LONG = 200_000  # rows that take more than two seconds to compare with each other
EVERY_HASH = 1 << 64


def temporary(folder: Path, name: str, part: str) -> Path:
    """Where a dataset's rows are until they are whole: one name for each, so that the next run finds what was left."""
    return folder / f".{name}~{part}.tmp"


class Staging:
    """Rows of one dataset, on their way to `temporary(folder, name, "train")` and, if there is a split, `"test"`.

    A context manager: what `finish` did not return is deleted, however it ends. All methods that write raise
    RlguideError when the disk is full.

    Args:
        target: the folder and, in it, the name of the dataset.
        split: with ALL_HELDOUT the rows become a held-out set of their own.
        kind: labels are put in KTO's order (see `kto_order`).
        heldout: a held-out set that is whole and has the same filters; duplicates of its rows are duplicates here, too.
    """

    def __init__(
        self,
        target: Path,
        filters: Filters,
        split: Split,
        kind: ExampleKind = "pairs",
        heldout: Staging | None = None,
    ) -> None:
        self._folder, self._name, self._part = target.parent, target.name, "test" if split == ALL_HELDOUT else "train"
        self._filters, self._split, self._kind = filters, split, kind
        self._key = filters.seed.to_bytes(8, "big")
        self._new: list[Example] = []
        self._characters = 0
        self._hashes: list[Hashes] = []
        self._labels: list[Flags] = []  # of labelled rows, all of which wait
        self._lengths: list[np.ndarray[Any, np.dtype[np.int64]]] = []
        self._waiting = self._written = 0
        wait = filters.need_all_rows or kind == "labels" or split != NO_SPLIT
        self._below = EVERY_HASH if wait else 0  # rows with a lower hash wait
        self._stack = ExitStack()
        self._duplicates: DuplicateFinder = heldout._duplicates if heldout is not None else DuplicateFinder()
        self._duplicates_before = len(self._duplicates)
        self.is_heldout = split == ALL_HELDOUT
        self.nothing_held_out = ""  # why not, if something was to be held out

    def __enter__(self) -> Staging:
        import pyarrow as pa

        self._schema = schema(self._kind)
        with ExitStack() as stack:
            with writing_in(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
                self._rows_path = temporary(self._folder, self._name, f"{self._part}-rows")
                stack.callback(self._rows_path.unlink, missing_ok=True)
                self._file = stack.enter_context(pa.OSFile(str(self._rows_path), "wb"))
                self._rows = pa.ipc.new_stream(self._file, self._schema)
            self._train = stack.enter_context(self._output(self._part))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with suppress(OSError) if error is not None else nullcontext():  # a full disk again: that has been reported
            self._stack.close()

    def _output(self, part: str) -> ParquetOutput:
        return ParquetOutput(temporary(self._folder, self._name, part), self._schema)

    def __len__(self) -> int:
        """Rows added so far."""
        return self._written + self._waiting + len(self._new)

    def hash(self, example: Example) -> int:
        """64 bits that depend on the seed and on the prompt (see `prompt_key`)."""
        return int.from_bytes(self._digest(example.messages), "little")

    def _digest(self, conversation: tuple[Turn, ...]) -> bytes:
        return hashlib.blake2b(prompt_key(conversation), digest_size=8, key=self._key).digest()

    def add(self, *examples: Example) -> None:
        """Add examples that have been checked."""
        for example in examples:
            self._new.append(example)
            self._characters += length(example)
            if len(self._new) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
                self._flush()

    def _flush(self) -> None:
        import numpy as np

        if not self._new:
            return
        examples, self._new, self._characters = self._new, [], 0
        if self._below == 0:
            self._write(to_batch(examples, self._kind))
            return
        hashes = np.frombuffer(b"".join([self._digest(example.messages) for example in examples]), "<u8")
        if self._below < EVERY_HASH:
            waits = hashes < self._below
            self._write(to_batch([examples[at] for at in np.flatnonzero(~waits)], self._kind))
            examples, hashes = [examples[at] for at in np.flatnonzero(waits)], hashes[waits]
        self._wait(to_batch(examples, self._kind), hashes)
        self._remember(examples)
        if self._below == EVERY_HASH and self._written == 0 and self._waiting >= PROBE:
            self._below = self._first_that_need_not_wait()

    def _write(self, batch: pa.RecordBatch) -> None:
        self._train.write(batch)
        self._written += batch.num_rows

    def _wait(self, batch: pa.RecordBatch, hashes: Hashes) -> None:
        with writing_in(self._folder):
            self._rows.write_batch(batch)
        self._hashes.append(hashes)
        self._waiting += len(hashes)

    def _remember(self, examples: list[Example]) -> None:
        """What the filters need to know about the rows when all of them are there."""
        import numpy as np

        if self._kind == "labels":
            self._labels.append(np.array([example.label for example in examples], dtype=bool))
        if self._filters.dedupe:
            for example in examples:
                self._duplicates.add(example)
        if self._filters.balance_length:
            lengths = [list(map(len, example.responses)) for example in examples]
            self._lengths.append(np.array(lengths, dtype=np.int64))

    def _first_that_need_not_wait(self) -> int:
        """The hash from which on no row can become a held-out one."""
        import numpy as np

        expected = self._split.expected or 0
        if self._filters.need_all_rows or self._kind == "labels" or expected < LARGE:
            return EVERY_HASH
        if len(np.unique(np.concatenate(self._hashes))) < self._waiting / 2:
            return EVERY_HASH
        return min(EVERY_HASH, int(EVERY_HASH * SPARE * self._split.wanted(expected) / expected))

    def hashes(self) -> set[int]:
        """The prompt hashes of the rows that wait; all rows of a staging with a filter or a split."""
        self._flush()
        return {int(value) for part in self._hashes for value in part}

    def finish(self, counts: RowCounts) -> list[Written]:
        """Write the rows that are wanted, count those that a filter drops; return the training and a held-out file."""
        import numpy as np

        self._flush()
        hashes = np.concatenate([np.empty(0, np.uint64), *self._hashes])
        keep = self._wanted(counts)
        held = np.isin(hashes, self._choose_heldout(hashes, keep)) & keep
        with ExitStack() as stack:
            outputs = [(self._train, keep & ~held)]
            if held.any():
                outputs.append((stack.enter_context(self._output("test")), held))
            for output, mask in outputs:
                kept = self._kept(mask)
                for batch in self._in_order(kept) if self._kind == "labels" else kept:
                    output.write(batch)
                output.close()
            return [output.finish() for output, _ in outputs]

    def _wanted(self, counts: RowCounts) -> Flags:
        """Which of the rows that wait the filters keep."""
        import numpy as np

        keep = np.ones(self._waiting, dtype=bool)
        if self._filters.dedupe:
            if self._waiting > LONG:
                console.say(f"  comparing {self._waiting:,} rows")
            keep &= self._duplicates.earlier(self._duplicates_before, self._waiting) < 0
            counts.add_filtered(DUPLICATE, self._waiting - int(keep.sum()))
        if self._filters.balance_length:
            there = np.flatnonzero(keep)
            lengths = np.concatenate([np.empty((0, 2), np.int64), *self._lengths])
            dropped = there[~balanced(lengths[there], self._filters.seed)]
            keep[dropped] = False
            counts.add_filtered(UNBALANCED, len(dropped))
        if self._filters.max_samples is not None:
            before = int(keep.sum())
            keep = drawn(keep, self._filters.max_samples, self._filters.seed)
            counts.add_filtered(NOT_DRAWN, before - int(keep.sum()))
        return keep

    def _choose_heldout(self, all_hashes: Hashes, keep: Flags) -> Hashes:
        """The prompt hashes to hold out, of the rows to keep; `nothing_held_out` says why there are none."""
        import numpy as np

        hashes = all_hashes[keep]
        rows = self._written + len(hashes)
        wanted = self._split.wanted(rows)
        if self._kind == "labels" and wanted:
            labels = np.concatenate(self._labels)[keep] if self._labels else np.empty(0, bool)
            prompts, group, counts = np.unique(hashes, return_inverse=True, return_counts=True)
            desirable = np.bincount(group[labels], minlength=len(prompts))
            chosen, self.nothing_held_out = choose_labelled(counts.tolist(), desirable.tolist(), wanted)
            return prompts[chosen]
        prompts, counts = np.unique(hashes, return_counts=True)
        if self._written:  # of the prompts above, some rows did not wait
            prompts, counts = prompts[prompts < self._below], counts[prompts < self._below]
        chosen, self.nothing_held_out = choose(counts.tolist(), wanted, rows)
        return prompts[chosen]

    def _kept(self, mask: Flags) -> Iterator[pa.RecordBatch]:
        """The rows that waited and are in `mask`."""
        import pyarrow as pa

        for start, batch in self._read() if mask.any() else ():
            wanted = mask[start : start + batch.num_rows]
            yield batch if wanted.all() else batch.filter(pa.array(wanted))

    def _read(self) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The rows that waited, with the number of the first of each batch."""
        import pyarrow as pa

        with writing_in(self._folder):
            self._rows.close()
            self._file.flush()
        start = 0
        with (
            Ticker(f"writing {self._name}", "rows", self._waiting) as ticker,
            pa.OSFile(str(self._rows_path)) as file,
            pa.ipc.open_stream(file) as stream,
        ):
            for batch in stream:
                yield start, batch
                start += batch.num_rows
                ticker.update(start)

    def _in_order(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Labelled rows in an order where neighbours have different prompts, a window at a time."""
        import pyarrow as pa

        window: list[pa.RecordBatch] = []
        rows = size = 0
        for batch in batches:
            while batch.num_rows:
                window.append(batch.slice(0, BLOCK - rows % BLOCK))
                batch = batch.slice(window[-1].num_rows)
                rows, size = rows + window[-1].num_rows, size + window[-1].nbytes
                if rows == WINDOW or (rows % BLOCK == 0 and size > WINDOW_BYTES):
                    yield self._spread(pa.Table.from_batches(window))
                    window, rows, size = [], 0, 0
        if window:
            yield self._spread(pa.Table.from_batches(window))

    def _spread(self, table: pa.Table) -> pa.RecordBatch:
        rows = table.select(["history", "prompt"]).to_pylist()
        keys = [int.from_bytes(self._digest(messages(row)), "little") for row in rows]
        order = list(spread(keys, self._filters.seed))
        (ordered,) = table.combine_chunks().take(order).to_batches()
        return ordered
