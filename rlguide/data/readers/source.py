"""A file that is open for reading, whether compressed or not, and its rows."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from rlguide.errors import DataError

PACKED_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class Row(NamedTuple):
    """What stands at one place of a file: `value`, or why it cannot be read."""

    position: int  # line number, or row number in a Parquet file; 1 is the first
    value: Any
    broken: str = ""


@dataclass(frozen=True)
class Source:
    """A file and how to read it. `unit` is what a position counts: "line" or "row"."""

    path: Path
    kind: str
    unit: str
    read: Callable[[Path, frozenset[str] | None], Iterator[Row]]

    def rows(self, columns: Collection[str] | None = None) -> Iterator[Row]:
        """The rows in order. Raises DataError when the file as a whole is broken or cut short.

        With `columns`, the others of a Parquet file are not read; text files have them all in any case.
        """
        try:
            yield from self.read(self.path, None if columns is None else frozenset(columns))
        except OSError as error:
            raise unreadable(self.path, error) from error


def text_suffix(path: Path) -> str:
    """The suffix that tells the kind of text, in small letters: .csv of `pairs.CSV.gz`."""
    name = path.with_suffix("") if path.suffix.lower() in PACKED_SUFFIXES else path
    return name.suffix.lower()


def plain_stem(path: Path) -> str:
    """A file's name without the suffixes of its kind and compression: `pairs` of `pairs.jsonl.gz`."""
    name = Path(path.stem) if path.suffix.lower() in PACKED_SUFFIXES else path
    return name.stem


def packing(path: Path) -> str:
    """How a file is compressed, by its first bytes: "gzip", "zstd" or ""."""
    with path.open("rb") as file:
        head = file.read(4)
    return "gzip" if head.startswith(GZIP) else "zstd" if head == ZSTD else ""


@contextmanager
def open_text(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked if it is compressed.

    Raises:
        DataError: in the block, when a compressed file is cut short or broken.
        OSError: like `open`.
    """
    packed = packing(path)
    if not packed:
        with path.open("rb") as file:
            yield file
        return
    try:
        with _unpacked(path, packed) as file:
            yield file
    except (EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk, not the contents
            raise
        raise DataError(
            f"{path} is not a complete {packed} file: {error or 'it is cut short'}", "fetch or compress the file again"
        ) from error


def _unpacked(path: Path, packed: str) -> IO[bytes]:
    import io

    if packed == "gzip":
        import gzip

        raw: Any = gzip.GzipFile(path)
    else:
        import pyarrow as pa

        raw = pa.input_stream(str(path), compression="zstd")
    return io.BufferedReader(raw, 1 << 20)  # their own way to find a line is slow


def unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot read {path}: {error.strerror or error}", "check the file and its permissions")
