"""One row of a registered dataset, whatever it is for and whoever wrote it."""

from __future__ import annotations

import shlex
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rlguide.data.example import GPT, BadRow, Example, Turn, turns
from rlguide.data.readers.files import open_source
from rlguide.data.readers.source import Row
from rlguide.data.store.dataset_info import Kind, dataset_kind, read_registry
from rlguide.data.store.prompts import prompt_by_entry
from rlguide.data.store.reading import converter, renamer
from rlguide.data.store.registered import RegisteredDataset, Wanted, check_registered, local_files
from rlguide.errors import DataError, UsageError
from rlguide.workspace import Workspace

BATCH = 1024  # rows that are unpacked at a time


@dataclass(frozen=True)
class StoredRow:
    """A row and where it is.

    Attributes:
        dataset: the registered dataset that it is in.
        heldout_of: the dataset that this one is held out from, if that was asked for.
        number: from 1. rows: how many there are, None where that is not known.
        example: of a row for SFT or PPO, the prompt with its response, if it has one.
    """

    dataset: str
    heldout_of: str | None
    kind: Kind
    number: int
    rows: int | None
    file: Path
    example: Example


def read_row(workspace: Workspace, name: str, number: int = 1, heldout: bool = False) -> StoredRow:
    """Row `number` of a registered dataset, from 1, or from the end if it is negative.

    Args:
        heldout: of what the dataset holds out instead.

    Raises:
        UsageError: it is not registered, holds nothing out, or has no such row.
        DataError: the file is missing or damaged, is fetched by the engine itself, or the row holds no example.
    """
    dataset, kind = _registered(workspace, name)
    if heldout:
        if dataset.heldout is None:
            raise UsageError(f"{name} holds nothing out", f"rlguide show {shlex.quote(name)}")
        dataset, kind = _registered(workspace, dataset.heldout)
    again = f"rlguide show {shlex.quote(name)}" + " --heldout" * heldout
    if number == 0:
        raise UsageError(
            "rows are counted from 1", f"`{again} --row 1` shows the first, `{again} --row -1` the last one"
        )
    convert, columns = _converter(workspace, dataset, kind)
    files = local_files(dataset)
    found = _find(files, columns, number)
    rows = _known_rows(files, dataset)
    if found is None:
        there = f"{rows:,} rows" if rows is not None else "fewer rows"
        raise UsageError(
            f"{dataset.name} has {there}, and row {number:,} is asked for",
            f"`{again} --row -1` shows the last one",
        )
    file, at, row = found
    if rows is not None and at < 0:
        at += rows + 1
    try:
        if row.broken:
            raise BadRow(row.broken)
        example = convert(row.value)
    except BadRow as reason:
        raise DataError(
            f"row {at:,} of {dataset.name} cannot be shown: {reason}", f"look into {workspace.relative(file)}"
        ) from None
    return StoredRow(dataset.name, name if heldout else None, kind, at, rows, file, example)


def _registered(workspace: Workspace, name: str) -> tuple[RegisteredDataset, Kind]:
    kind = dataset_kind(workspace, name)
    wanted: Wanted = "prompts" if kind == "other" else kind
    return check_registered(workspace, [name], wanted)[0], kind


def _converter(
    workspace: Workspace, dataset: RegisteredDataset, kind: Kind
) -> tuple[Callable[[Any], Example], Collection[str]]:
    if kind != "other":
        return converter(workspace, dataset)
    rename = renamer(read_registry(workspace)[dataset.name].get("tags") or {})

    def convert(value: Any) -> Example:
        prompt = prompt_by_entry(dataset, value, rename)
        system, response = (value.get(dataset.columns.get(key)) for key in ("system", "response"))
        if dataset.formatting != "alpaca":
            said = turns(list(map(rename, value[dataset.columns["messages"]])))
            system = next((turn.value for turn in said if turn.role == "system"), system)
            response = said[-1].value if said and said[-1].role == GPT else None
        return Example(_checked(prompt), (response,) if isinstance(response, str) else (), str(system or ""))

    return convert, dataset.columns.values()


def _checked(prompt: tuple[Turn, ...]) -> tuple[Turn, ...]:
    if not prompt or not all(isinstance(turn.value, str) for turn in prompt):
        raise BadRow("it has no prompt")
    return prompt


def _find(files: list[Path], columns: Collection[str], number: int) -> tuple[Path, int, Row] | None:
    """The file of the row, its number (still negative if its rows are not counted), and the row."""
    if all(file.suffix.lower() == ".parquet" for file in files):
        return _find_in_parquet(files, columns, number)
    rows = ((file, row) for file in files for row in open_source(file).rows(columns))
    if number > 0:
        found = next(islice(enumerate(rows, start=1), number - 1, None), None)
        return (found[1][0], found[0], found[1][1]) if found else None
    last = deque(enumerate(rows, start=1), maxlen=-number)
    return (last[0][1][0], last[0][0], last[0][1][1]) if len(last) == -number else None


def _find_in_parquet(files: list[Path], columns: Collection[str], number: int) -> tuple[Path, int, Row] | None:
    """The same without reading the rows before it."""
    counts = [_row_groups(file) for file in files]
    total = sum(map(sum, counts))
    at = number - 1 if number > 0 else total + number
    if not 0 <= at < total:
        return None
    place = at
    for file, groups in zip(files, counts, strict=True):
        for group, rows in enumerate(groups):
            if place < rows:
                return file, at + 1, _row_of_group(file, columns, group, place)
            place -= rows
    return None


def _row_groups(file: Path) -> list[int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            return [opened.metadata.row_group(group).num_rows for group in range(opened.metadata.num_row_groups)]
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is damaged: {error}", "download or register the dataset again") from None


def _row_of_group(file: Path, columns: Collection[str], group: int, place: int) -> Row:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            names = [name for name in opened.schema_arrow.names if name in columns]
            batches: Iterator[Any] = opened.iter_batches(BATCH, row_groups=[group], columns=names)
            for batch in batches:
                if place < len(batch):
                    return Row(place, batch.slice(place, 1).to_pylist()[0])
                place -= len(batch)
    except UnicodeDecodeError:
        return Row(place, None, "not UTF-8")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} is damaged: {error}", "download or register the dataset again") from None
    raise DataError(f"{file} is damaged: it has fewer rows than it says", "download or register the dataset again")


def _known_rows(files: list[Path], dataset: RegisteredDataset) -> int | None:
    if all(file.suffix.lower() == ".parquet" for file in files):
        return sum(map(sum, map(_row_groups, files)))
    return dataset.rows
