"""Rows of JSON: which of its layouts a file has, and the readers of those that need no more memory than a row."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from rlguide.data.readers import relaxed_json
from rlguide.data.readers.encodings import BEFORE, BOM, Text
from rlguide.data.readers.json_lines import as_read, find_lines, loads, read_lines
from rlguide.data.readers.json_objects import find_layout, is_rows, with_split
from rlguide.data.readers.json_records import KIND, is_record, open_records
from rlguide.data.readers.json_stream import (
    NO_LIST,
    StreamError,
    iterate_array,
    iterate_object,
    iterate_values,
)
from rlguide.data.readers.packing import packing
from rlguide.data.readers.source import HELD_IN_MEMORY, ReadOptions, Row, Source
from rlguide.data.readers.words import SPLIT_NAME
from rlguide.errors import DataError, UsageError
from rlguide.progress import format_bytes

PROBE = 4 << 20  # bytes that tell the layout; a file that is smaller is looked at as a whole


def begins_json(head: bytes) -> bool:
    """Whether a text that begins so is JSON, or means to be."""
    text = head.lstrip(BEFORE)
    while text.startswith((b"//", b"/*", b"#")):
        end = b"*/" if text.startswith(b"/*") else b"\n"
        text = text.partition(end)[2].lstrip(BEFORE)
    return text.startswith((b"{", b"["))


def open_json(text: Text, how: ReadOptions) -> Source:
    """Find out how the rows stand in a JSON text. Raises DataError if they cannot be read, or only with names."""
    with text.open() as file:
        probe, more = file.read(PROBE), file.read(1)
    if more:
        probe = probe.rstrip(bytes(range(0x80, 0x100)))  # the last character may be cut
    notes = list[str]()
    if b"\r" in probe and b"\n" not in probe:  # line ends of old Macs
        text = replace(text, opener=partial(_with_line_ends, text))
        probe = probe.replace(b"\r", b"\n")
        notes.append("its lines end with carriage returns alone")
    found = find_lines(text, probe, how)
    if found is None:
        begins_list = probe.lstrip(BEFORE).startswith(b"[")
        found = _list(text, probe, not more, how) if begins_list else _objects(text, probe, not more)
    if found is None:
        found = _repaired(text, how)
    if how.header is not None and found.kind != KIND:
        raise UsageError(f"{text.path} names its columns itself", "leave out --header, or rename them with --columns")
    return replace(found, notes=(*notes, *found.notes))


@contextmanager
def _with_line_ends(text: Text) -> Iterator[Any]:
    data = _in_memory(text).replace(b"\r", b"\n")
    yield io.BytesIO(data)


def _in_memory(text: Text) -> bytes:
    """All of a text, if it is not too large to be held. Raises DataError if it is."""
    with text.open() as file:
        data = file.read(HELD_IN_MEMORY + 1)
    if len(data) > HELD_IN_MEMORY:
        raise DataError(
            f"{text.path} holds more than {format_bytes(HELD_IN_MEMORY)} of JSON that can only be read as a whole",
            "write it as JSON lines: one object a line",
        )
    return data


# Lists


def _list(text: Text, probe: bytes, whole: bool, how: ReadOptions) -> Source | None:
    """A JSON list, read element by element; None if it is not strictly JSON as far as can be seen."""
    first = list[Any]()
    try:
        for _, value in iterate_array(io.BytesIO(probe)):
            first = first or [value]
    except StreamError as error:
        if whole or "ends too early" not in str(error):
            return None
    if not whole and _comma_too_many(text):
        return None
    if first and is_record(first[0]):
        return open_records(text, how, first[0], read_array)
    lines = b"\n" in probe.removeprefix(BOM).strip()
    read = _counted(read_array, lines)
    return Source(text.path, "JSON list", "line" if lines else "row", partial(as_read, read, text))


def _comma_too_many(text: Text) -> bool:
    """Whether a comma stands before the end of a list that is larger than what was looked at."""
    if text.opener is not None or text.encoding != "utf-8" or packing(text.path):
        return False
    with text.path.open("rb") as file:
        file.seek(-64, io.SEEK_END)
        end = file.read().rstrip()
    return end.endswith(b"]") and end[:-1].rstrip().endswith(b",")


def _counted(read: Callable[[Text], Iterator[Row]], lines: bool) -> Callable[[Text], Iterator[Row]]:
    """The same reader; of a text that is on one line, a position is the number of the row."""

    def numbered(text: Text) -> Iterator[Row]:
        return (row._replace(position=number) for number, row in enumerate(read(text), start=1))

    return read if lines else numbered


def read_array(text: Text) -> Iterator[Row]:
    """Elements of a JSON list, streamed. Raises DataError when it is broken, cut short or not UTF-8."""
    with text.open() as file, _whole(text, "list"):
        for line, value in iterate_array(file):
            yield Row(line, value)


# Objects


def _objects(text: Text, probe: bytes, whole: bool) -> Source | None:
    """One object or several that follow each other; None if it is not strictly JSON as far as can be seen."""
    try:
        found = [value for _, value in islice(iterate_values(io.BytesIO(probe)), 2 if not whole else None)]
    except StreamError as error:
        if whole or "ends too early" not in str(error):
            return None
        return _large_object(text, probe)
    if len(found) > 1:
        return _one_after_another(text, probe)
    if not whole:
        return _large_object(text, probe)
    return _single(text, found[0], probe) if found else None


def _one_after_another(text: Text, probe: bytes) -> Source:
    lines = b"\n" in probe.strip(BEFORE)
    note = "its objects do not stand on a line each" if lines else "its objects follow each other without a line break"
    read = _counted(read_values, lines)
    return Source(text.path, "JSON objects", "line" if lines else "row", partial(as_read, read, text), (note,))


def read_values(text: Text) -> Iterator[Row]:
    """Objects that follow each other, streamed. Raises DataError when one is broken or cut short."""
    with text.open() as file, _whole(text, "row of objects"):
        for line, value in iterate_values(file):
            yield Row(line, value)


def _single(text: Text, value: Any, probe: bytes) -> Source:
    """A file that is one object, by what it holds."""
    layout = find_layout(str(text.path), value)
    one_line = b"\n" not in probe.strip(BEFORE)
    if layout.kind == "one JSON object" and one_line and loads(probe.removeprefix(BOM)) is not None:
        return Source(text.path, "JSON lines", "line", partial(as_read, read_lines, text))
    if layout.lists:
        read = _counted(partial(read_lists, wanted=layout.lists), not one_line)
        return Source(text.path, layout.kind, "row" if one_line else "line", partial(as_read, read, text), layout.notes)
    return Source(text.path, layout.kind, "row", partial(_from_memory, text), layout.notes)


def _from_memory(text: Text, _: Path, __: frozenset[str] | None) -> Iterator[Row]:
    yield from find_layout(str(text.path), _parsed(text)).rows()


def _parsed(text: Text) -> Any:
    """The value of a whole text. Raises DataError if it is too large or not JSON."""
    data = _in_memory(text)
    try:
        return json.loads(data.strip(BEFORE))
    except UnicodeDecodeError as error:
        raise DataError(f"{text.path} is not {text.name}", "save the file as UTF-8, or name its --encoding") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{text.path} is not JSON: {error}", "fix the file there, or fetch it again") from error


def _large_object(text: Text, probe: bytes) -> Source:
    """An object that goes on beyond what was looked at: lists of rows are streamed, all else is held in memory."""
    if _begins_with_rows(probe):
        return _lists(text, probe)
    try:
        with text.open() as file:
            found = [value for _, value in islice(iterate_values(file), 2)]
    except StreamError:  # also one that is larger than a row may be
        found = [_parsed(text)]
    if len(found) > 1:  # with a first row that is larger than what was looked at
        return Source(text.path, "JSON objects", "row", partial(as_read, _counted(read_values, False), text))
    return _single(text, found[0], probe)


def _begins_with_rows(probe: bytes) -> bool:
    """Whether the first list of an object is one of rows, as far as can be seen."""
    try:
        first = next((value for _, _, value in iterate_object(io.BytesIO(probe)) if value is not NO_LIST), None)
    except StreamError:
        return False
    return is_rows([first])


def _lists(text: Text, probe: bytes) -> Source:
    lines = b"\n" in probe.strip(BEFORE)
    read = _counted(partial(read_lists, wanted=None), lines)
    return Source(text.path, "JSON list in an object", "line" if lines else "row", partial(as_read, read, text))


def read_lists(text: Text, wanted: frozenset[str] | None) -> Iterator[Row]:
    """Elements of these lists of an object (None: of the only one that has objects, or of all that are splits).

    Raises DataError when it is broken or cut short, or there is another list of rows where only one can be meant.
    """
    with text.open() as file, _whole(text, "list"):
        rows = ""
        for line, key, value in iterate_object(file):
            if value is NO_LIST or (wanted is not None and key not in wanted):
                continue
            is_split = SPLIT_NAME.fullmatch(key) is not None
            if rows not in ("", key) and isinstance(value, dict) and not (is_split and SPLIT_NAME.fullmatch(rows)):
                raise StreamError("more than the list is in its object", line)
            rows = key
            yield Row(line, with_split(value, key) if is_split else value)


@contextmanager
def _whole(text: Text, what: str) -> Iterator[None]:
    """What is broken in a JSON list, said with the file's name."""
    try:
        yield
    except StreamError as error:
        told = str(error).replace("UTF-8", text.name)
        raise DataError(
            f"{text.path} is not a complete JSON {what}: {told}",
            "fix the file there, or fetch it again if it was cut short",
        ) from error


# Slips


def _repaired(text: Text, how: ReadOptions) -> Source:
    """A text that is not strictly JSON, read where it can mean only one thing. Raises DataError where it cannot."""
    data = _in_memory(text).decode("utf-8", "surrogateescape")
    try:
        repaired, slips = relaxed_json.strict_json(data)
    except ValueError:
        repaired, slips = data, frozenset()
    better = replace(text, opener=partial(_repaired_stream, text)) if slips else text
    probe = repaired.encode("utf-8", "surrogateescape")
    if probe.lstrip(BEFORE).startswith(b"["):
        found = _list(better, probe, True, how) if slips else None
        if found is None:  # it says where it is broken when it is read
            return Source(text.path, "JSON list", "line", partial(as_read, read_array, text))
    else:
        found = _objects(better, probe, True) if slips else None
        if found is None and _begins_with_rows(probe):
            return _lists(text, probe)
        if found is None:
            lines = probe.strip(BEFORE).count(b"\n")
            read = read_values if lines else read_lines
            return Source(text.path, "JSON objects" if lines else "JSON lines", "line", partial(as_read, read, text))
    return replace(found, notes=(*relaxed_json.said(slips), *found.notes))


@contextmanager
def _repaired_stream(text: Text) -> Iterator[Any]:
    repaired, _ = relaxed_json.strict_json(_in_memory(text).decode("utf-8", "surrogateescape"))
    with relaxed_json.opener(repaired) as stream:
        yield stream
