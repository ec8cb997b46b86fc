"""Rows of JSON files: lists, lists in an object, JSON lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlguide.data.readers.source import Row, open_text
from rlguide.errors import DataError

HEAD = 4096  # bytes that tell the kind of a file
LONGEST_LINE = 16 << 20  # bytes that are read to tell JSON lines from one object
# An object whose first key names a list of rows.
WRAPPED = re.compile(
    rb'(?:\xef\xbb\xbf)?\s*\{\s*"(?:data|rows|examples|instances|items|records|pairs|samples|dataset|train)"\s*:\s*'
    rb"(?=\[\s*\{)"
)


def is_wrapped(head: bytes) -> bool:
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


def has_row_lines(path: Path) -> bool:
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


def refuse_single_object(path: Path) -> None:
    """A pretty-printed object is not JSON lines: tell so at once instead of counting broken lines."""
    with open_text(path) as file:
        first = next(line for line in file if line.removeprefix(b"\xef\xbb\xbf").strip())
    if first.removeprefix(b"\xef\xbb\xbf").strip() == b"{":
        raise DataError(
            f"{path} is one JSON object, not a list of pairs",
            "put the pairs in a list: [ {...}, {...} ], or one a line",
        )


def read_array(path: Path, _: frozenset[str] | None = None) -> Iterator[Row]:
    """Elements of a JSON list, streamed. Raises DataError when it is broken, cut short or not UTF-8."""
    from rlguide.data.readers.json_stream import iterate_array

    with open_text(path) as file, _whole_list(path):
        for line, value in iterate_array(file):
            yield Row(line, value)


def read_elements(path: Path, _: frozenset[str] | None = None) -> Iterator[Row]:
    """`read_array` of a list without lines: a position is the number of the element, 1 is the first."""
    for number, row in enumerate(read_array(path), start=1):
        yield row._replace(position=number)


def read_wrapped(path: Path, _: frozenset[str] | None = None) -> Iterator[Row]:
    """Elements of a JSON list that is all that an object holds, as in {"data": [...]}. Raises as `read_array`."""
    from rlguide.data.readers.json_stream import iterate_array

    with open_text(path) as file:
        head = file.read(HEAD)
    before = WRAPPED.match(head)
    counted = b"\n" in head.removeprefix(b"\xef\xbb\xbf").strip()
    with open_text(path) as file, _whole_list(path):
        lines = file.read(before.end() if before else 0).count(b"\n")
        for number, (line, value) in enumerate(iterate_array(file, line=lines + 1, closing="}"), start=1):
            yield Row(line if counted else number, value)


@contextmanager
def _whole_list(path: Path) -> Iterator[None]:
    """What is broken in a JSON list, said with the file's name."""
    from rlguide.data.readers.json_stream import StreamError

    try:
        yield
    except StreamError as error:
        raise DataError(
            f"{path} is not a complete JSON list: {error}",
            "fix the file there, or fetch it again if it was cut short",
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


def count_lines(path: Path) -> int:
    count, last = 0, b"\n"
    with open_text(path) as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")  # the last line may lack its end
