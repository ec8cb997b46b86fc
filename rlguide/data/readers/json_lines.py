"""JSON lines: a value a line, also with slips in the lines that can mean only one thing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from rlguide.data.readers import relaxed_json
from rlguide.data.readers.encodings import BEFORE, BOM, Text
from rlguide.data.readers.json_records import is_record, open_records
from rlguide.data.readers.json_stream import iterate_values
from rlguide.data.readers.source import ReadOptions, Row, Source

LOOKED_AT = 1 << 20  # bytes whose lines are all parsed, to find slips in them
BLOCK = 1 << 20  # bytes whose lines are counted at a time
FEW = 20  # lines that tell JSON lines from anything else
SEVERAL = "several objects in a line"
SEPARATED = "commas between the objects"


def find_lines(text: Text, probe: bytes, how: ReadOptions) -> Source | None:
    """JSON lines, if there are several in the text, which begins so, and most of the first are a whole value each."""
    lines = probe[:LOOKED_AT].split(b"\n")
    if len(lines) > 1 and len(probe) > LOOKED_AT:
        lines.pop()  # it may be cut
    padded = any(line.strip() and not line.strip(BEFORE) for line in lines)
    lines = [line for line in lines if line.strip(BEFORE)]
    if len(lines) < 2:
        return None
    lines = [lines[0].removeprefix(BOM), *lines[1:]]
    first = [value for value in (loads(line.strip(BEFORE)) for line in lines[:FEW]) if isinstance(value, dict | list)]
    if 2 * len(first) >= len(lines[:FEW]) and len(set(map(type, first))) == 1:
        record = first[0]
        if isinstance(record, list) and is_record(record):
            return open_records(text, how, record, read_lines)
    elif lines[0].lstrip(BEFORE).startswith(b"[") or not _are_relaxed(lines[:FEW]):
        return None
    slips = _slips(lines) | ({relaxed_json.CONTROLS} if padded else set())
    read = read_relaxed_lines if slips else read_lines
    return Source(text.path, "JSON lines", "line", partial(as_read, read, text), tuple(relaxed_json.said(slips)))


def _are_relaxed(lines: list[bytes]) -> bool:
    """Whether most of the lines hold whole objects or are comments: the first one that is no comment, and several."""
    found = [_relaxed_line(line) for line in lines]
    read = [values for values, _ in filter(None, found) if values]
    first = next((one for one in found if one is None or one[0]), None)
    objects = all(isinstance(value, dict) for values in read for value in values)
    return objects and first is not None and sum(map(len, read)) > 1 and 2 * found.count(None) <= len(found)


def _slips(lines: list[bytes]) -> frozenset[str]:
    """What is not JSON in the lines that can be read nevertheless."""
    found: frozenset[str] = frozenset()
    for line in lines:
        if loads(line) is None:
            read = _relaxed_line(line)
            found |= read[1] if read is not None else frozenset()
    return found


def loads(line: bytes) -> Any:
    """The value of a line; None if it is not JSON."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _relaxed_line(line: bytes) -> tuple[list[Any], frozenset[str]] | None:
    """The values in a line, none if it is a comment, and what was not JSON in it; None if it is broken."""
    try:
        repaired, found = relaxed_json.strict_json(line.decode("utf-8"))
        values = [value for _, value in iterate_values(io.BytesIO(repaired.encode()))]
    except (ValueError, RecursionError):
        return None
    if len(values) > 1:
        found |= {SEVERAL}
    if repaired.rstrip().endswith(","):
        found |= {SEPARATED}
    return values, found


def as_read(read: Callable[[Text], Iterator[Row]], text: Text, _: Path, __: frozenset[str] | None) -> Iterator[Row]:
    return read(text)


def read_lines(text: Text) -> Iterator[Row]:
    """Lines of a JSON lines file; a line that is not UTF-8 or not JSON comes as a broken row."""
    with text.open() as file:  # bytes: U+2028 and its like do not end a line of JSON
        for number, line in enumerate(file, start=1):
            if number == 1:
                line = line.removeprefix(BOM)
            if line.isspace():
                continue
            try:
                yield Row(number, json.loads(line))
            except (ValueError, RecursionError) as error:
                if line.strip(BEFORE):  # not zero bytes alone, which a crash may leave
                    yield _broken_line(text, number, line, error)


def read_relaxed_lines(text: Text) -> Iterator[Row]:
    """`read_lines` of lines in which there are slips: several objects in a line, comments, a comma too many."""
    for row in _raw_lines(text):
        number, line = row
        value = loads(line)
        if value is not None:
            yield Row(number, value)
            continue
        read = _relaxed_line(line)
        if read is None:
            yield _broken_line(text, number, line)
        else:
            yield from (Row(number, value) for value in read[0])


def _raw_lines(text: Text) -> Iterator[tuple[int, bytes]]:
    with text.open() as file:
        for number, line in enumerate(file, start=1):
            if line.strip(BEFORE):
                yield number, line


def _broken_line(text: Text, number: int, line: bytes, error: Exception | None = None) -> Row:
    if isinstance(error, UnicodeDecodeError) or not _is_text(line):
        return Row(number, None, f"not {text.name}")
    return Row(number, None, "not JSON (cut short?)" if not line.endswith(b"\n") else "not JSON")


def _is_text(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def count_lines(text: Text) -> int:
    """How many lines a text has. Raises as `open_text`."""
    count, last = 0, b"\n"
    with text.open() as file:
        while block := file.read(BLOCK):
            count += _line_ends(block)
            last = block[-1:]
    return count + (last != b"\n")  # the last line may lack its end


def _line_ends(block: bytes) -> int:
    if len(block) < BLOCK:  # numpy takes longer to load than to count those of a small file
        return block.count(b"\n")
    import numpy as np

    return int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")))  # in a quarter of the time of `count`
