"""The rows of a dataset for inspection; those of a file that rlguide did not write are checked on the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from rlguide.data.checks.examples import check_texts
from rlguide.data.example import BadRow, Example
from rlguide.data.inspect.figures import BadRows
from rlguide.data.readers.files import open_source
from rlguide.data.readers.source import Row
from rlguide.data.store.reading import converter, read_examples
from rlguide.data.store.registered import RegisteredDataset, local_files, written_file
from rlguide.workspace import Workspace

PLACES = 5  # shown for each reason


class Checked:
    """The rows of a dataset, once.

    Rows that hold no example are skipped; those that `rlguide register` would refuse for what is in their texts, such
    as a chat-template token, are not, because they are trained on as they are. `bad` has both, when all are read. It
    stays empty for a file that rlguide wrote and that is unchanged: its rows were checked.
    """

    def __init__(self, workspace: Workspace, dataset: RegisteredDataset) -> None:
        self._workspace, self._dataset = workspace, dataset
        self._reasons: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}
        self.read = self.left_out = 0

    def __iter__(self) -> Iterator[Example]:
        """The good rows in order. Raises UsageError and DataError like `reading.read_examples`."""
        dataset = self._dataset
        if dataset.path is not None and written_file(self._workspace, dataset.name, dataset.path):
            yield from read_examples(self._workspace, dataset.name)
            return
        files = local_files(dataset)
        convert, columns = converter(self._workspace, dataset)
        for file in files:
            source = open_source(file)
            for row in source.rows(columns):
                self.read += 1
                place = f"{source.unit} {row.position}" if len(files) == 1 else f"{file.name}:{row.position}"
                example = self._checked(convert, row, place)
                if example is not None:
                    yield example

    @property
    def bad(self) -> list[BadRows]:
        """The rows that `rlguide register` would refuse, the commonest reason first."""
        return [BadRows(reason, rows, self._places[reason]) for reason, rows in self._reasons.most_common()]

    def _checked(self, convert: Callable[[Any], Example], row: Row, place: str) -> Example | None:
        """The example of a row, None if it has none."""
        example: Example | None = None
        try:
            if row.broken:
                raise BadRow(row.broken)
            example = convert(row.value)
            check_texts(example)
        except BadRow as reason:
            self._reasons[str(reason)] += 1
            places = self._places.setdefault(str(reason), [])
            if len(places) < PLACES:
                places.append(place)
            self.left_out += example is None
        return example
