"""Rows out of a file, one at a time: a JSON list, JSON lines, CSV (each also compressed) or Parquet."""

from __future__ import annotations

from pathlib import Path

from rlguide.data.readers import json_rows
from rlguide.data.readers.source import Source, open_text, packing, text_suffix, unreadable
from rlguide.errors import DataError


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
            head = file.read(json_rows.HEAD)
    except OSError as error:
        raise unreadable(path, error) from error
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
        from rlguide.data.readers.csv_rows import read_csv

        return Source(path, "CSV", "line", read_csv)
    if text.startswith(b"["):
        if b"\n" in text.rstrip():
            return Source(path, "JSON list", "line", json_rows.read_array)
        return Source(path, "JSON list", "row", json_rows.read_elements)  # on one line, or with very long ones
    if json_rows.is_wrapped(head) and not json_rows.has_row_lines(path):
        lines = b"\n" in text.rstrip()
        return Source(path, "JSON list in an object", "line" if lines else "row", json_rows.read_wrapped)
    if text.startswith(b"{"):
        json_rows.refuse_single_object(path)
        return Source(path, "JSON lines", "line", json_rows.read_lines)
    raise DataError(
        f"{path} is neither JSON, JSON lines, Parquet nor CSV",
        "convert it to JSON lines: one object with a pair a line",
    )


def _parquet_source(path: Path) -> Source:
    from rlguide.data.readers.parquet_rows import read_parquet

    if packing(path):
        raise DataError(f"{path} is a Parquet file that was compressed again", "unpack it first (gunzip, unzstd)")
    return Source(path, "Parquet", "row", read_parquet)


def count_rows(path: Path) -> int | None:
    """How many rows a data file holds, without keeping them: footer of a Parquet file, lines, list elements.

    None for kinds that rlguide does not read (Arrow, text). Raises DataError like the readers.
    """
    if path.suffix.lower() in (".arrow", ".txt"):
        return None
    source = open_source(path)
    if source.kind == "Parquet":
        from rlguide.data.readers.parquet_rows import count_parquet

        return count_parquet(path)
    if source.kind == "JSON lines":
        return json_rows.count_lines(path)
    return sum(1 for _ in source.rows())


def expected_rows(source: Source) -> int | None:
    """How many rows a source has, where that is quick to tell (0.2 s for 500 MB); None for all else."""
    quick = source.kind == "Parquet" or (source.kind == "JSON lines" and not packing(source.path))
    return count_rows(source.path) if quick else None
