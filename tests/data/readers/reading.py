"""What the tests of all readers do: write bytes, read rows, and expect two lines of what is damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from rlguide.data.readers.files import open_source
from rlguide.data.readers.source import DEFAULT, ReadOptions, Source
from rlguide.errors import RlguideError

QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
COLUMNS = ("prompt", "chosen", "rejected")
words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=20)
row = st.tuples(texts, texts, texts).map(lambda cells: dict(zip(COLUMNS, cells, strict=True)))
rows = st.lists(row, min_size=1, max_size=6)


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, how: ReadOptions = DEFAULT) -> tuple[Source, list[Any]]:
    """The source, and the values of its rows; none of them may be broken."""
    source = open_source(path, how)
    found = list(source.rows())
    assert not [row for row in found if row.broken]
    return source, [row.value for row in found]


def values(path: Path, how: ReadOptions = DEFAULT) -> list[Any]:
    return read(path, how)[1]


def refused(path: Path, how: ReadOptions = DEFAULT) -> tuple[str, str]:
    """The two lines of a refusal."""
    try:
        list(open_source(path, how).rows())
    except RlguideError as error:
        assert "\n" not in error.what and "\n" not in error.fix and error.fix
        return error.what, error.fix
    raise AssertionError(f"{path} was read")


def survives(path: Path, content: bytes, at: int, new: bytes) -> None:
    """What is cut at a place, or has something else there, is refused or has broken rows: it never fails otherwise."""
    for damaged in (content[:at], content[:at] + new + content[at + len(new) :], content[:at] + new + content[at:]):
        path.write_bytes(damaged)
        try:
            for row in open_source(path).rows():
                assert row.broken or row.value is not None
        except RlguideError as error:
            assert error.fix and "\n" not in error.what
