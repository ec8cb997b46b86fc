"""What a format is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from rlguide.data.example import Labelled, Pair


class Shape(ABC):
    """One shape of data, of pairs or of labelled answers."""

    name: str
    sentence: str  # which columns hold what, shown when the format is detected
    note: str = ""  # what is taken for granted, if anything: also shown
    columns: tuple[str, ...]  # all that the conversion may look at; the others of a Parquet file are not read

    @abstractmethod
    def matches(self, row: Record) -> bool:
        """Whether the row has this shape. Looks at columns and types only, not at whether the row is any good."""


class LabelFormat(Shape):
    """One shape of labelled answers."""

    @abstractmethod
    def to_labelled(self, row: Record) -> Labelled:
        """The labelled answer in the row, its texts unchanged. Raises BadRow with the reason when there is none."""


Record = dict[str, Any]


class Format(Shape):
    """One shape of preference data."""

    @abstractmethod
    def to_pairs(self, row: Record) -> list[Pair]:
        """The pairs in the row, one in most formats, texts unchanged. Raises BadRow with the reason for none."""
