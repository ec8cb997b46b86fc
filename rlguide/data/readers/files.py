"""Rows out of a file, one at a time: JSON in any layout, CSV (each also compressed), Parquet, Arrow or Excel."""

from __future__ import annotations

from pathlib import Path

from rlguide.data.readers.encodings import BEFORE, Text, find_text
from rlguide.data.readers.foreign import refuse_foreign
from rlguide.data.readers.json_lines import count_lines
from rlguide.data.readers.json_rows import begins_json, open_json
from rlguide.data.readers.packing import inner_suffix, is_spreadsheet, open_text, packing
from rlguide.data.readers.source import DEFAULT, ReadOptions, Source, unreadable
from rlguide.errors import DataError, UsageError

HEAD = 4096  # bytes that tell the kind of a file


def open_source(path: Path, how: ReadOptions = DEFAULT) -> Source:
    """Find out what kind of file `path` is, from its first bytes rather than its name, and how its rows stand in it.

    Raises:
        DataError: it does not exist, is empty, holds no rows that can be read, or not certainly in one way only.
        UsageError: `how` does not go with the file.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"{path} {what}", "name a JSON, JSONL, Parquet or CSV file")
    try:
        return _open(path, how)
    except OSError as error:
        raise unreadable(path, error) from error


def _open(path: Path, how: ReadOptions) -> Source:
    packed = packing(path)
    if packed == "zip" and is_spreadsheet(path):
        from rlguide.data.readers.xlsx_rows import open_xlsx

        return open_xlsx(path, how)
    suffix = inner_suffix(path, packed)
    with open_text(path) as file:
        head = file.read(HEAD)
    if not head.removeprefix(b"\xef\xbb\xbf").strip():
        raise DataError(f"{path} is empty", "name a file that holds preference pairs")
    table = _binary(path, head, suffix, packed)
    if table is not None:
        if how.header is not None:
            raise UsageError(f"{path} names its columns itself", "leave out --header, or rename them with --columns")
        return table
    refuse_foreign(path, head)
    text, notes = find_text(path, how)
    source = _of_text(text, suffix, how)
    return Source(path, source.kind, source.unit, source.read, (*notes, *source.notes))


def _binary(path: Path, head: bytes, suffix: str, packed: str) -> Source | None:
    """A Parquet or Arrow file; None for all others."""
    from rlguide.data.readers.arrow_rows import is_arrow, read_arrow

    is_parquet = head.startswith(b"PAR1")
    if (is_parquet or is_arrow(head) or head.startswith(b"PK\x03\x04")) and packed:
        what = "a Parquet" if is_parquet else "an Arrow" if is_arrow(head) else "an Excel or zip"
        tools = {"gzip": "gunzip", "zstd": "unzstd", "bzip2": "bunzip2", "xz": "unxz", "zip": "unzip"}
        raise DataError(f"{path} is {what} file that was compressed again", f"unpack it first ({tools[packed]})")
    if is_parquet:
        from rlguide.data.readers.parquet_rows import read_parquet

        return Source(path, "Parquet", "row", read_parquet, read_turns=read_parquet)
    if is_arrow(head):
        return Source(path, "Arrow", "row", read_arrow)
    known = {".parquet": "a Parquet", ".arrow": "an Arrow", ".feather": "an Arrow", ".xlsx": "an Excel"}
    if suffix in known:
        refuse_foreign(path, head)
        raise DataError(f"{path} is not {known[suffix]} file", "fetch or write the file again")
    return None


def _of_text(text: Text, suffix: str, how: ReadOptions) -> Source:
    from rlguide.data.readers.csv_rows import is_table, open_csv

    with text.open() as file:
        head = file.read(HEAD)
    named_so = suffix in (".csv", ".tsv")
    if begins_json(head) and not (named_so and head.lstrip(BEFORE).startswith((b"#", b"/"))):
        return open_json(text, how)
    lines = head.decode("utf-8", "replace").removeprefix("\ufeff").replace("\r", "\n").split("\n")
    if named_so or how.header is not None or is_table([line for line in lines[:10] if line]):
        return open_csv(text, suffix, how)
    if b"\0" in head:
        raise DataError(f"{text.path} is no text, and of no kind that is known", "convert it to JSON lines or Parquet")
    raise DataError(
        f"{text.path} is neither JSON, JSON lines, Parquet nor CSV",
        "convert it to JSON lines: one object with a pair a line",
    )


def count_rows(path: Path) -> int | None:
    """How many rows a data file holds, without keeping them: footer of a Parquet file, lines, list elements.

    None for text, which rlguide need not be able to read. Raises DataError like the readers.
    """
    if path.suffix.lower() == ".txt":
        return None
    source = open_source(path)
    return _quick_count(source) if _is_quick(source) else sum(1 for _ in source.rows())


def _quick_count(source: Source) -> int:
    if source.kind == "Parquet":
        from rlguide.data.readers.parquet_rows import count_parquet

        return count_parquet(source.path)
    if source.kind == "Arrow":
        from rlguide.data.readers.arrow_rows import count_arrow

        return count_arrow(source.path)
    return count_lines(Text(source.path))


def _is_quick(source: Source) -> bool:
    return source.kind in ("Parquet", "Arrow") or (source.kind == "JSON lines" and not source.notes)


def expected_rows(source: Source) -> int | None:
    """How many rows a source has, where that is quick to tell (0.2 s for 500 MB); None for all else."""
    return _quick_count(source) if _is_quick(source) and not packing(source.path) else None
