"""Rows out of a file, one at a time: a JSON list, JSON lines, CSV (each also compressed) or Parquet."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from rlguide.errors import DataError

PACKED_SUFFIXES = (".gz", ".gzip", ".zst", ".zstd")
HEAD = 4096  # bytes that tell the kind of a file
LONGEST_LINE = 16 << 20  # bytes that are read to tell JSON lines from one object
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# An object whose first key names a list of rows.
WRAPPED = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:data|rows|examples|instances|items|records|pairs|samples|dataset|train)"\s*:\s*'
    rb"(?=\[\s*\{)"
)


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
            raise _unreadable(self.path, error) from error


def open_source(path: Path) -> Source:
    """Find out what kind of file `path` is, from its first bytes rather than its name.

    Raises:
        DataError: it does not exist, is empty, or is none of JSON, JSON lines, Parquet and CSV.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}", "name a JSON, JSONL, Parquet or CSV file")
    try:
        with open_text(path) as file:
            head = file.read(HEAD)
    except OSError as error:
        raise _unreadable(path, error) from error
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    suffix = text_suffix(path)
    if not text:
        raise DataError(f"{path} is empty", "name a file that holds preference pairs")
    if head.startswith(b"PAR1"):
        return _parquet_source(path)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16, not UTF-8", "save the file as UTF-8, then try again")
    if suffix == ".parquet":
        raise DataError(f"{path} is not a Parquet file", "fetch or write the file again")
    if suffix in (".csv", ".tsv"):
        from rlguide.preferences.csv_rows import read_csv

        return Source(path, "CSV", "line", read_csv)
    if text.startswith(b"["):
        if b"\n" in text.rstrip():
            return Source(path, "JSON list", "line", read_array)
        return Source(path, "JSON list", "row", read_elements)  # on one line, or with very long ones
    if _is_wrapped(head) and not _has_row_lines(path):
        lines = b"\n" in text.rstrip()
        return Source(path, "JSON list in an object", "line" if lines else "row", read_wrapped)
    if text.startswith(b"{"):
        _refuse_single_object(path)
        return Source(path, "JSON lines", "line", read_lines)
    raise DataError(
        f"{path} is neither JSON, JSON lines, Parquet nor CSV",
        "convert it to JSON lines: one object with a pair a line",
    )


def _parquet_source(path: Path) -> Source:
    from rlguide.preferences.parquet import read_parquet

    if packing(path):
        raise DataError(f"{path} is a Parquet file that was compressed again", "unpack it first (gunzip, unzstd)")
    return Source(path, "Parquet", "row", read_parquet)


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
            f"{path} is not a whole {packed} file: {error or 'it is cut short'}", "fetch or compress the file again"
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


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot read {path}: {error.strerror or error}", "check the file and its permissions")


def _is_wrapped(head: bytes) -> bool:
    """Whether a file that begins so is an object with a list of rows, and not a row with a short list in it."""
    before = WRAPPED.match(head)
    if before is None:
        return False
    text = head[before.end() :].decode("utf-8", "replace")
    try:
        end = json.JSONDecoder().raw_decode(text)[1]
    except (ValueError, RecursionError):
        return True  # the list goes on
    return text[end:].lstrip()[:1] in ("", "}")


def _has_row_lines(path: Path) -> bool:
    """Whether the first line is a whole object and the next one begins another: JSON lines, with a list in each row."""
    with open_text(path) as file:
        first, second = file.readline(LONGEST_LINE), b""
        if not first.endswith(b"\n"):
            return False
        while (line := file.readline(HEAD)) and not second:
            second = line.strip()
    try:
        return second.startswith(b"{") and isinstance(json.loads(first.removeprefix(b"\xef\xbb\xbf")), dict)
    except (ValueError, RecursionError):
        return False


def _refuse_single_object(path: Path) -> None:
    """A pretty-printed object is no JSON lines: tell so at once instead of counting broken lines."""
    with open_text(path) as file:
        first = next(line for line in file if line.removeprefix(b"\xef\xbb\xbf").strip())
    if first.removeprefix(b"\xef\xbb\xbf").strip() == b"{":
        raise DataError(
            f"{path} is one JSON object, not a list of pairs",
            "put the pairs in a list: [ {...}, {...} ], or one a line",
        )


def read_array(path: Path, _: frozenset[str] | None = None) -> Iterator[Row]:
    """Elements of a JSON list, streamed. Raises DataError when it is broken, cut short or not UTF-8."""
    from rlguide.preferences.json_stream import iterate_array

    with open_text(path) as file, _whole_list(path):
        for line, value in iterate_array(file):
            yield Row(line, value)


def read_elements(path: Path, _: frozenset[str] | None = None) -> Iterator[Row]:
    """`read_array` of a list without lines: a position is the number of the element, 1 is the first."""
    for number, row in enumerate(read_array(path), start=1):
        yield row._replace(position=number)


def read_wrapped(path: Path, _: frozenset[str] | None = None) -> Iterator[Row]:
    """Elements of a JSON list that is all that an object holds, as in {"data": [...]}. Raises as `read_array`."""
    from rlguide.preferences.json_stream import iterate_array

    with open_text(path) as file, _whole_list(path):
        head = file.read(HEAD)
        before = WRAPPED.match(head)
        start = before.end() if before else 0
        rest: Any = _Joined(head[start:], file)
        lines = head[:start].count(b"\n")
        counted = b"\n" in head.removeprefix(b"\xef\xbb\xbf").strip()
        for number, (line, value) in enumerate(iterate_array(rest, line=lines + 1, closing="}"), start=1):
            yield Row(line if counted else number, value)


class _Joined:
    """Bytes that were read already, and the rest of their file."""

    def __init__(self, first: bytes, rest: IO[bytes]) -> None:
        self._first, self._rest = first, rest

    def read(self, size: int) -> bytes:
        first, self._first = self._first, b""
        return first or self._rest.read(size)


@contextmanager
def _whole_list(path: Path) -> Iterator[None]:
    """What is broken in a JSON list, said with the file's name."""
    from rlguide.preferences.json_stream import StreamError

    try:
        yield
    except StreamError as error:
        raise DataError(
            f"{path} is not a whole JSON list: {error}",
            "mend the file there, or fetch it again if it was cut short",
        ) from error


def read_lines(path: Path, _: frozenset[str] | None = None) -> Iterator[Row]:
    """Lines of a JSON lines file; a line that is not UTF-8 or not JSON comes as a broken row."""
    with open_text(path) as file:  # bytes: U+2028 and its like do not end a line of JSON
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            try:
                yield Row(number, json.loads(line))
            except UnicodeDecodeError:
                yield Row(number, None, "not UTF-8")
            except (ValueError, RecursionError):
                yield Row(number, None, "not JSON (cut short?)" if not line.endswith(b"\n") else "not JSON")


def count_rows(path: Path) -> int | None:
    """How many rows a data file holds, without keeping them: footer of a Parquet file, lines, list elements.

    None for kinds that rlguide does not read (Arrow, text). Raises DataError like the readers.
    """
    if path.suffix.lower() in (".arrow", ".txt"):
        return None
    source = open_source(path)
    if source.kind == "Parquet":
        from rlguide.preferences.parquet import count_parquet

        return count_parquet(path)
    if source.kind == "JSON lines":
        return _count_lines(path)
    return sum(1 for _ in source.rows())


def expected_rows(source: Source) -> int | None:
    """How many rows a source has, where that is quick to tell (0.2 s for 500 MB); None for all else."""
    quick = source.kind == "Parquet" or (source.kind == "JSON lines" and not packing(source.path))
    return count_rows(source.path) if quick else None


def _count_lines(path: Path) -> int:
    count, last = 0, b"\n"
    with open_text(path) as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")  # the last line may lack its end
