"""The examples of a registered dataset, whoever wrote its entry and whatever file holds them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from rlguide.data.checks.examples import check_structure, check_unicode
from rlguide.data.example import BadRow, Example, ExampleKind, turn
from rlguide.data.formats.base import Format
from rlguide.data.formats.csv_cells import open_rows
from rlguide.data.formats.label_formats import KtoAlpaca, KtoMessages
from rlguide.data.formats.pair_formats import Alpaca, Sharegpt
from rlguide.data.store.columns import COLUMNS, from_row
from rlguide.data.store.dataset_info import dataset_kind, is_ours, read_registry
from rlguide.data.store.registered import RegisteredDataset, check_registered, local_files
from rlguide.workspace import Workspace

# The engine's words for columns, and the names that our formats know.
NAMES = {
    "messages": "conversations",
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "kto_tag": "label",
}


def read_examples(workspace: Workspace, name: str) -> Iterator[Example]:
    """The examples of a registered dataset, in order; rows that are not an example are dropped.

    Raises UsageError or DataError as `check_registered`, and DataError for a dataset that is not a local file.
    """
    kind: ExampleKind = "labels" if dataset_kind(workspace, name) == "labels" else "pairs"
    (dataset,) = check_registered(workspace, [name], kind)
    convert, columns = converter(workspace, dataset)
    for file in local_files(dataset):
        for row in open_rows(file).rows(columns):
            try:
                example = convert(row.value)
            except BadRow:
                continue
            yield example


def converter(workspace: Workspace, dataset: RegisteredDataset) -> tuple[Callable[[Any], Example], Collection[str]]:
    """How a row of this dataset becomes an example (or BadRow is raised), and the columns that takes."""
    entry = read_registry(workspace)[dataset.name]
    kind: ExampleKind = "pairs" if dataset.ranking else "labels"
    if is_ours(entry, kind):
        return _as_written, COLUMNS[kind]
    return _by_entry(dataset, kind, entry.get("tags") or {}), dataset.columns.values()


def _as_written(row: Any) -> Example:
    """The example in a row of a file that rlguide wrote, and that somebody may have changed since."""
    try:
        return from_row(row)
    except (KeyError, TypeError, ValueError):
        raise BadRow("not a row that rlguide wrote") from None


def _by_entry(dataset: RegisteredDataset, kind: ExampleKind, tags: dict[str, Any]) -> Callable[[Any], Example]:
    """A function from a row to its example, by the entry's columns and tags."""
    alpaca, pairs = dataset.formatting == "alpaca", kind == "pairs"
    forms: tuple[Format, Format] = (Alpaca(), KtoAlpaca()) if alpaca else (Sharegpt(), KtoMessages())
    form = forms[0 if pairs else 1]
    rename = _renamer(tags)

    def convert(value: Any) -> Example:
        if not isinstance(value, dict):
            raise BadRow("not an object")
        row = {NAMES.get(key, key): value.get(column) for key, column in dataset.columns.items()}
        if alpaca:
            row.setdefault("instruction", "")
        elif isinstance(messages := row.get("conversations"), list):
            row["conversations"] = list(map(rename, messages))
        for side in ("chosen", "rejected") if pairs and not alpaca else ():
            row[side] = turn(rename(row[side])).value
        (example,) = form.to_examples(row)
        check_structure(example)
        check_unicode(example)
        return example

    return convert


def _renamer(tags: dict[str, Any]) -> Callable[[Any], Any]:
    """A function from a message with the entry's tags to one with sharegpt's."""
    role_key, content_key = tags.get("role_tag") or "from", tags.get("content_tag") or "value"
    known = {tags.get("user_tag") or "human": "human", tags.get("assistant_tag") or "gpt": "gpt"}

    def rename(message: Any) -> Any:
        if isinstance(message, dict) and role_key in message and content_key in message:
            role = message[role_key]
            return {"from": known.get(role, role), "value": message[content_key]}
        return message

    return rename
