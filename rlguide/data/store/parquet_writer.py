"""Batches to Parquet files, written by a thread while the next rows are being checked."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlguide.data.store.manifest import size_and_time
from rlguide.errors import RlguideError

if TYPE_CHECKING:
    import pyarrow as pa


ROW_GROUP, ROW_GROUP_BYTES = 8192, 16_000_000  # a reader takes one into memory at a time
WAITING = 2  # row groups on their way to the disk: bounds memory


@dataclass(frozen=True)
class Written:
    """A data file of `rows` rows and `bytes` bytes at `path`; `desirable` rows are labelled so (None: pairs)."""

    path: Path
    rows: int
    bytes: int
    mtime_ns: int
    sha256: str
    desirable: int | None = None


class ParquetOutput:
    """A Parquet file in the making at `path` (zstd). Use as a context manager; without `finish` the file is deleted.

    Every method raises RlguideError when the disk is full or the folder cannot be written.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self._schema = schema
        self._rows = 0
        self._desirable = 0 if "label" in schema.names else None
        self._finished = False
        self._digest = hashlib.sha256()
        self._waiting: deque[Future[None]] = deque()
        self._group: list[pa.RecordBatch] = []
        self._group_rows = self._group_bytes = 0

    def __enter__(self) -> ParquetOutput:
        import pyarrow.parquet as pq

        with writing_in(self.path.parent):
            self._writer = pq.ParquetWriter(
                self.path, self._schema, compression="zstd", compression_level=1, use_dictionary=False
            )
            self._reader = self.path.open("rb")
        self._pool = ThreadPoolExecutor(1)
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._reader.close()
        if not self._finished:
            with suppress(OSError):  # a full disk again; the first one has been reported
                self._writer.close()
            self.path.unlink(missing_ok=True)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch; returns before it is on the disk."""
        self._rows += batch.num_rows
        if self._desirable is not None:
            self._desirable += batch.column("label").true_count
        self._group.append(batch)
        self._group_rows += batch.num_rows
        self._group_bytes += batch.nbytes
        if self._group_rows >= ROW_GROUP or self._group_bytes >= ROW_GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        """Give a row group to the thread: a whole one, because each time it waits for the interpreter."""
        import pyarrow as pa

        if not self._group:
            return
        self._settle(WAITING - 1)
        self._waiting.append(self._pool.submit(self._store, pa.Table.from_batches(self._group)))
        self._group, self._group_rows, self._group_bytes = [], 0, 0

    def _store(self, table: pa.Table) -> None:
        self._writer.write_table(table, ROW_GROUP)
        self._hash_what_is_new()

    def _hash_what_is_new(self) -> None:
        while block := self._reader.read(ROW_GROUP_BYTES):  # at once: each call waits for the interpreter
            self._digest.update(block)

    def close(self) -> None:
        """Nothing more will be written: the thread ends the file, so that two files can be ended at the same time."""
        self._write_group()
        self._waiting.append(self._pool.submit(self._end))

    def _end(self) -> None:
        self._writer.close()
        self._hash_what_is_new()
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())

    def finish(self) -> Written:
        """Wait until the file, which has been closed, is on the disk for good, and describe it."""
        self._settle(0)
        with writing_in(self.path.parent):
            facts = size_and_time(self.path)
        self._finished = True
        return Written(self.path, self._rows, **facts, sha256=self._digest.hexdigest(), desirable=self._desirable)

    def _settle(self, most: int) -> None:
        """Wait until at most this many row groups are on their way to the disk."""
        with writing_in(self.path.parent):
            while len(self._waiting) > most:
                self._waiting.popleft().result()


@contextmanager
def writing_in(folder: Path) -> Iterator[None]:
    """Raises RlguideError when, in the block, the disk is full or the folder may not be written."""
    try:
        yield
    except OSError as error:
        what = f"cannot write in {folder}: {error.strerror or error}"
        raise RlguideError(what, "free some disk space, then run the same command again") from error
