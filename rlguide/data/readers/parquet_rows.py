"""Rows of a Parquet file in batches whose size in memory is bounded, however large its row groups or rows are."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rlguide.data.readers.source import Row, numbered
from rlguide.data.readers.turn_columns import take_turns
from rlguide.errors import DataError

BATCH_BYTES = 4 << 20  # of the columns that are read, unpacked
OBJECT_BYTES = 1 << 20  # of them, made Python objects at a time: four times that at most, so that a cache can hold them
MOST_ROWS = 1024  # a batch
BUFFER = 1 << 20  # bytes read ahead of each column, instead of the column's whole part of a row group


def read_parquet(
    path: Path, columns: frozenset[str] | None = None, as_turns: frozenset[str] = frozenset()
) -> Iterator[Row]:
    """Rows of a Parquet file, of these columns as far as they exist; of `as_turns` plain messages come as turns.

    A row with a text that is not UTF-8 comes as a broken row. Raises DataError when the file is corrupt or cut short.
    """
    import pyarrow.parquet as pq

    with _whole(path), pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER) as file:
        names = file.schema_arrow.names
        wanted = names if columns is None else [name for name in names if name in columns]
        wanted = wanted or names[:1]  # a row without its columns is refused for that, not lost
        number = 1
        size = _batch_rows(file.metadata, set(wanted))
        # One thread unpacks ahead; more would only take the processor from the one that works on the rows.
        for batch in _ahead(file.iter_batches(batch_size=size, columns=wanted, use_threads=False)):
            yield from rows_of(batch, number, as_turns)
            number += len(batch)


def _ahead(batches: Iterator[Any]) -> Iterator[Any]:
    """The same batches; each is unpacked by a thread while the one before is worked on."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def rows_of(batch: Any, first: int, as_turns: frozenset[str] = frozenset()) -> Iterator[Row]:
    """The rows of a batch, the first one at this position; few at a time are Python objects."""
    options = {"maps_as_pydicts": "lossy"} if any("map<" in str(field.type) for field in batch.schema) else {}
    size = max(1, OBJECT_BYTES * len(batch) // max(1, batch.nbytes))
    for start in range(0, len(batch), size):
        yield from numbered(_python_values(batch.slice(start, size), options, as_turns), first + start)


def _python_values(batch: Any, options: dict[str, str], as_turns: frozenset[str]) -> list[Any]:
    """Rows as Python objects; where a text is not UTF-8, one by one, the bad ones as broken rows."""
    try:
        rest, taken = take_turns(batch, as_turns) if as_turns else (batch, {})
        values: list[Any] = rest.to_pylist(**options) if rest.num_columns else [{} for _ in range(len(batch))]
        for name, conversations in taken.items():
            for value, turns in zip(values, conversations, strict=True):
                value[name] = turns
        return values
    except UnicodeDecodeError:
        if len(batch) == 1:
            return [Row(0, None, "not UTF-8")]
        return [
            value for index in range(len(batch)) for value in _python_values(batch.slice(index, 1), options, as_turns)
        ]


def _batch_rows(metadata: Any, wanted: set[str]) -> int:
    """How many rows make about `BATCH_BYTES`, by the row group with the largest rows."""
    largest = 1
    for group in (metadata.row_group(index) for index in range(metadata.num_row_groups)):
        chunks = (group.column(index) for index in range(group.num_columns))
        size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] in wanted)
        largest = max(largest, size // max(1, group.num_rows))
    return max(1, min(MOST_ROWS, BATCH_BYTES // largest))


def count_parquet(path: Path) -> int:
    """Rows of a Parquet file, from its footer. Raises DataError when it is corrupt or cut short."""
    import pyarrow.parquet as pq

    with _whole(path):
        return int(pq.read_metadata(path).num_rows)


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """What goes wrong in the block means that the file is not a complete Parquet file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is not a complete Parquet file: {reason}", "fetch or write the file again") from error
