"""What became of every row: counted while reading, kept in `data/<name>.report.json`, and told in a table."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from typing import IO, Any, NamedTuple

EXAMPLES = 3  # places shown for each reason; the report has all of them
NAMED = 3  # files named in an error
A_FEW = 3  # bad rows: a file with fewer is not called mostly bad


class Share(NamedTuple):
    """How many rows of something were read, and how many of them were refused."""

    what: str
    bad: int
    read: int

    @property
    def is_mostly_bad(self) -> bool:
        """Whether more than half of the rows are bad, and more than a slip or two."""
        return self.bad >= A_FEW and self.bad > self.read / 2

    def __str__(self) -> str:
        return f"{self.bad:,} of {self.read:,} {self.what} ({self.bad / self.read:.1%})"


class RowCounts:
    """How many rows were read, why some were refused and where, and how many good ones the filters left out.

    A refused row takes 24 bytes: a file of a million bad rows can be reported.
    """

    def __init__(self) -> None:
        self.read = 0
        self.refused: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self._files: list[str] = []
        self._units: list[str] = []
        self._heldout: list[bool] = []  # whether the file is one of held-out rows
        self._before: list[int] = []  # rows that had been read when the file was opened
        self._reasons: dict[str, int] = {}
        self._places = array("Q")  # file, reason, position of each refused row, one after the other

    @property
    def bad(self) -> int:
        """Rows that were refused."""
        return self.refused.total()

    def open(self, file: str, unit: str, heldout: bool = False) -> None:
        """From here on rows are of this file; `unit` is what a position counts: "line" or "row"."""
        self._files.append(file)
        self._units.append(unit)
        self._heldout.append(heldout)
        self._before.append(self.read)

    def parts(self) -> list[Share]:
        """The rows to train on and the held-out ones, each if there are any; only "rows" if all are of one kind."""
        files = self.files()
        kinds = dict.fromkeys(self._heldout)
        names = {kind: "rows" if len(kinds) == 1 else "held-out rows" if kind else "training rows" for kind in kinds}
        result = []
        for kind, name in names.items():
            mine = [file for file, heldout in zip(files, self._heldout, strict=True) if heldout is kind]
            result.append(Share(name, sum(file.bad for file in mine), sum(file.read for file in mine)))
        return result

    def files(self) -> list[Share]:
        """The rows of each file, in the order in which they were read."""
        bad = Counter(self._places[::3])
        ends = [*self._before[1:], self.read]
        counted = zip(self._files, self._before, ends, strict=True)
        return [Share(f"rows of {short(file)}", bad[at], end - start) for at, (file, start, end) in enumerate(counted)]

    def mostly_bad(self) -> list[Share]:
        """Files of which most rows were refused, where there are several files."""
        return [file for file in self.files() if file.is_mostly_bad] if len(self._files) > 1 else []

    def too_bad(self, most_refused: float) -> tuple[list[Share], str]:
        """What has more bad rows than may be dropped just so, and the limit that it is over.

        Training and held-out rows are judged apart, and so is each file: bad rows among few held-out ones, or one
        file of many that was written wrong, would otherwise vanish in the rest.

        Args:
            most_refused: share of the rows that may be bad.
        """
        parts = [part for part in self.parts() if part.bad > most_refused * part.read]
        if parts:
            return parts, f"at most {most_refused:.0%} of the rows may be bad"
        return self.mostly_bad()[:NAMED], "no file may be mostly bad"

    def refuse(self, reason: str, position: int) -> None:
        """A row that is not what it should be."""
        self.refused[reason] += 1
        self._places.extend((len(self._files) - 1, self._reasons.setdefault(reason, len(self._reasons)), position))

    def leave_out(self, reason: str, count: int = 1) -> None:
        """A good row that a filter does not want."""
        if count:
            self.left_out[reason] += count

    def lines(self) -> list[str]:
        """A table of the refused rows, the commonest reason first (count, reason, first places); mostly bad files."""
        first: dict[int, list[tuple[int, int]]] = {}
        for at in range(0, len(self._places), 3):
            file, reason, position = self._places[at : at + 3]
            examples = first.setdefault(reason, [])
            if len(examples) < EXAMPLES:
                examples.append((file, position))
        result = []
        width = max((len(reason) for reason in self.refused), default=0)
        digits = max((len(f"{count:,}") for count in self.refused.values()), default=0)
        for why, count in self.refused.most_common():
            places = first[self._reasons[why]]
            where = ", ".join(self._place(file, position) for file, position in places)
            more = ", ..." if count > len(places) else ""
            unit = f"{self._units[0]}{'s' * (count > 1)} " if len(self._files) == 1 else ""
            result.append(f"{count:>{digits},} x {why:<{width}}  {unit}{where}{more}")
        return [*result, *(f"mostly bad: {file}" for file in self.mostly_bad())]

    def _place(self, file: int, position: int) -> str:
        return str(position) if len(self._files) == 1 else f"{short(self._files[file])}:{position}"

    def left_out_lines(self) -> list[str]:
        """What the filters left out, the commonest reason first."""
        return [f"{count:,} x {reason}" for reason, count in self.left_out.most_common()]

    def write(self, output: IO[str], head: dict[str, Any]) -> None:
        """The report as JSON: `head`, the counts, and one line for every refused row (file, line or row, reason)."""
        whole = {**head, "rows_read": self.read, "refused": dict(self.refused), "left_out": dict(self.left_out)}
        text = json.dumps(whole, ensure_ascii=False, indent=2)
        output.write(text.removesuffix("\n}") + ',\n  "rows": [')
        reasons = list(self._reasons)
        for at in range(0, len(self._places), 3):
            file, reason, position = self._places[at : at + 3]
            row = {"file": self._files[file], self._units[file]: position, "reason": reasons[reason]}
            output.write(("," if at else "") + "\n    " + json.dumps(row, ensure_ascii=False))
        output.write("\n  ]\n}\n" if self._places else "]\n}\n")


def short(label: str) -> str:
    """The bare name of a file that may be known as `folder/file of org/dataset`."""
    return label.partition(" of ")[0].rpartition("/")[2]


NO_PAIR = "none of its answers is better than another"
