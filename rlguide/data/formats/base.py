"""What a format is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from rlguide.data.example import Example, ExampleKind

Record = dict[str, Any]


class Format(ABC):
    """One shape of preference data."""

    name: str
    kind: ExampleKind = "pairs"  # what comes of its rows
    sentence: str  # which columns hold what, shown when the format is detected and in the help of `register`
    note: str = ""  # what is assumed, if anything: also shown
    columns: tuple[str, ...]  # all that the conversion may look at; the others of a Parquet file are not read

    @abstractmethod
    def matches(self, row: Record) -> bool:
        """Whether the row has this shape. Looks at columns and types only, not at whether the row is any good."""

    @abstractmethod
    def to_examples(self, row: Record) -> list[Example]:
        """The examples in the row, one in most formats, texts unchanged. Raises BadRow with the reason for none."""
