"""What became of every row: counted while reading, kept in `data/<name>.report.json`, and told in a table."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, NamedTuple

NO_PAIR = "none of its responses is better than another"
EXAMPLES = 3  # places shown for each reason; the report has all of them
NAMED = 3  # files named in an error
A_FEW = 3  # invalid rows: a file with fewer is not called mostly invalid


class RowShare(NamedTuple):
    """How many rows of something were read, and how many of them are invalid."""

    what: str
    invalid: int
    read: int

    def __str__(self) -> str:
        return f"{self.invalid:,} of {self.read:,} {self.what} ({self.invalid / self.read:.1%})"


@dataclass(frozen=True)
class _File:
    """A file that is read: what a position in it counts ("line" or "row"), and the rows that were read before it."""

    label: str
    unit: str
    heldout: bool
    before: int


class RowCounts:
    """How many rows were read, which are invalid and why, and how many valid ones the filters dropped.

    An invalid row takes 24 bytes: a file of a million of them can be reported.
    """

    def __init__(self) -> None:
        self.read = 0
        self.invalid: Counter[str] = Counter()
        self.filtered: Counter[str] = Counter()
        self._files: list[_File] = []
        self._reasons: dict[str, int] = {}
        self._places = array("Q")  # file, reason, position of each invalid row, one after the other

    def open(self, file: str, unit: str, heldout: bool = False) -> None:
        """From here on rows are of this file; `unit` is what a position counts: "line" or "row"."""
        self._files.append(_File(file, unit, heldout, self.read))

    def add_invalid(self, reason: str, position: int) -> None:
        """Count a row that is not what it should be."""
        self.invalid[reason] += 1
        self._places.extend((len(self._files) - 1, self._reasons.setdefault(reason, len(self._reasons)), position))

    def add_filtered(self, reason: str, count: int = 1) -> None:
        """Count valid rows that a filter drops."""
        if count:
            self.filtered[reason] += count

    def files(self) -> list[RowShare]:
        """The rows of each file, in the order in which they were read."""
        invalid = Counter(self._places[::3])
        ends = [*(file.before for file in self._files[1:]), self.read]
        return [
            RowShare(f"rows of {_short(file.label)}", invalid[at], end - file.before)
            for at, (file, end) in enumerate(zip(self._files, ends, strict=True))
        ]

    def parts(self) -> list[RowShare]:
        """The rows to train on and the held-out ones, each if there are any; only "rows" if all are of one kind."""
        kinds = dict.fromkeys(file.heldout for file in self._files)
        names = {kind: "rows" if len(kinds) == 1 else "held-out rows" if kind else "training rows" for kind in kinds}
        result = []
        for kind, name in names.items():
            mine = [share for share, file in zip(self.files(), self._files, strict=True) if file.heldout is kind]
            result.append(RowShare(name, sum(share.invalid for share in mine), sum(share.read for share in mine)))
        return result

    def mostly_invalid(self) -> list[RowShare]:
        """Files of which most rows are invalid, and more than a slip or two, where there are several files."""
        invalid = [file for file in self.files() if file.invalid >= A_FEW and file.invalid > file.read / 2]
        return invalid if len(self._files) > 1 else []

    def excess(self, max_invalid: float) -> tuple[list[RowShare], str]:
        """What has more invalid rows than may be dropped without being asked for, and the limit that it is over.

        `max_invalid` is the share that may be. Training and held-out rows are judged apart, and so is each file:
        invalid rows among few held-out ones, or one bad file of many, would otherwise vanish in the rest.
        """
        parts = [part for part in self.parts() if part.invalid > max_invalid * part.read]
        if parts:
            return parts, f"at most {max_invalid:.0%} of the rows may be invalid"
        return self.mostly_invalid()[:NAMED], "no file may be mostly invalid"

    def lines(self) -> list[str]:
        """A table of the invalid rows, the commonest reason first (count, reason, first places), and of whole files."""
        first: dict[str, list[str]] = {}
        alone = len(self._files) == 1
        for file, reason, position in self._invalid_rows():
            places = first.setdefault(reason, [])
            if len(places) < EXAMPLES:
                places.append(str(position) if alone else f"{_short(file.label)}:{position}")
        result = []
        width = max((len(reason) for reason in self.invalid), default=0)
        digits = max((len(f"{count:,}") for count in self.invalid.values()), default=0)
        for why, count in self.invalid.most_common():
            more = ", ..." if count > len(first[why]) else ""
            unit = f"{self._files[0].unit}{'s' * (count > 1)} " if alone else ""
            result.append(f"{count:>{digits},} x {why:<{width}}  {unit}{', '.join(first[why])}{more}")
        return [*result, *(f"mostly invalid: {file}" for file in self.mostly_invalid())]

    def filtered_lines(self) -> list[str]:
        """What the filters dropped, the commonest reason first."""
        return [f"{count:,} x {reason}" for reason, count in self.filtered.most_common()]

    def write(self, output: IO[str], head: dict[str, Any]) -> None:
        """The report as JSON: `head`, the counts, and one line for every invalid row (file, line or row, reason)."""
        whole = {**head, "rows_read": self.read, "refused": dict(self.invalid), "left_out": dict(self.filtered)}
        text = json.dumps(whole, ensure_ascii=False, indent=2)
        output.write(text.removesuffix("\n}") + ',\n  "rows": [')
        comma = ""
        for file, reason, position in self._invalid_rows():
            row = {"file": file.label, file.unit: position, "reason": reason}
            output.write(f"{comma}\n    {json.dumps(row, ensure_ascii=False)}")
            comma = ","
        output.write("\n  ]\n}\n" if self._places else "]\n}\n")

    def _invalid_rows(self) -> Iterator[tuple[_File, str, int]]:
        """File, reason and position of each invalid row."""
        reasons = list(self._reasons)
        for at in range(0, len(self._places), 3):
            file, reason, position = self._places[at : at + 3]
            yield self._files[file], reasons[reason], position


def _short(label: str) -> str:
    """The bare name of a file that may be known as `folder/file of org/dataset`."""
    return label.partition(" of ")[0].rpartition("/")[2]
