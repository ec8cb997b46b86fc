"""Rows of an Arrow file, as `datasets` saves and caches them, or a Feather file, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlguide.data.readers.parquet_rows import rows_of
from rlguide.data.readers.source import Row
from rlguide.errors import DataError

FILE, STREAM = b"ARROW1", b"\xff\xff\xff\xff"
END_OF_STREAM = STREAM + bytes(4)


def is_arrow(head: bytes) -> bool:
    """Whether a file that begins so is an Arrow file, of the kind with an index or of the kind that is a stream."""
    return head.startswith(FILE) or (head.startswith(STREAM) and 0 < int.from_bytes(head[4:8], "little") < 1 << 28)


def read_arrow(path: Path, columns: frozenset[str] | None = None) -> Iterator[Row]:
    """Rows of an Arrow file, of these columns as far as they exist.

    Raises DataError when the file is corrupt or cut short, or a text in it is not UTF-8.
    """
    number = 1
    with _batches(path) as batches:
        for batch in batches:
            names = batch.schema.names
            wanted = names if columns is None else [name for name in names if name in columns] or names[:1]
            batch = batch.select(dict.fromkeys(wanted)) if len(set(names)) == len(names) else batch
            yield from rows_of(batch, number)
            number += len(batch)


def count_arrow(path: Path) -> int:
    """Rows of an Arrow file. Its batches are mapped, not read. Raises DataError when it is corrupt or cut short."""
    with _batches(path, check=False) as batches:
        return sum(len(batch) for batch in batches)


@contextmanager
def _batches(path: Path, check: bool = True) -> Iterator[Iterator[Any]]:
    """The batches as the file has them, mapped into memory; each is checked before anything of it is followed."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as source:
            yield _checked(source, path, check)
    except (pa.ArrowException, OSError, NotImplementedError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, pa.ArrowException):
            raise
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is not a complete Arrow file: {reason}", "fetch or write the file again") from error


def _checked(source: Any, path: Path, check: bool) -> Iterator[Any]:
    import pyarrow as pa

    if source.read(len(FILE)) == FILE:
        source.seek(0)
        reader = pa.ipc.open_file(source)
        found: Iterator[Any] = (reader.get_batch(at) for at in range(reader.num_record_batches))
    else:
        source.seek(source.size() - len(END_OF_STREAM))
        if source.read() != END_OF_STREAM:  # a stream that is cut between two batches reads like a whole one
            raise DataError(f"{path} is cut short: it lacks the mark that ends it", "fetch or write the file again")
        source.seek(0)
        found = iter(pa.ipc.open_stream(source))
    for batch in found:
        if check:
            batch.validate(full=True)  # offsets that point outside of a damaged file would crash the process
        yield batch
