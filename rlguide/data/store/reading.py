"""The rows of a registered dataset, pairs or labelled answers, whoever wrote its entry and whatever file holds them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Any, TypeVar

from rlguide.data.checks.examples import check_labelled_row, check_structure, check_unicode
from rlguide.data.example import BadRow, Example, Labelled, Pair, turn
from rlguide.data.formats.csv_cells import open_rows
from rlguide.data.formats.label_formats import KtoAlpaca, KtoMessages
from rlguide.data.formats.pair_formats import Alpaca, Sharegpt
from rlguide.data.store.columns import LABEL_COLUMNS, PAIR_COLUMNS, from_row, labelled_from_row
from rlguide.data.store.dataset_info import dataset_kind, is_ours, read_registry
from rlguide.data.store.registered import RegisteredDataset, check_labelled, check_registered, local_files
from rlguide.workspace import Workspace

Kept = TypeVar("Kept", Pair, Labelled)


def read_examples(workspace: Workspace, name: str) -> Iterator[Example]:
    """The good rows of a dataset of either kind, in order.

    Raises:
        UsageError, DataError: like `read_pairs`; DataError for a dataset that is neither kind.
    """
    if dataset_kind(workspace, name) == "labels":
        yield from read_labelled(workspace, name)
    else:
        yield from read_pairs(workspace, name)


def read_pairs(workspace: Workspace, name: str, limit: int | None = None) -> Iterator[Pair]:
    """The pairs of a registered dataset, in order, at most `limit`; rows that are no pair are left out.

    Raises:
        UsageError, DataError: like `check_registered`; DataError also for a dataset that is not a local file.
    """
    dataset = check_registered(workspace, [name])[0]
    yield from islice(_good_rows(dataset, *pairs_of(workspace, dataset)), limit)


def read_labelled(workspace: Workspace, name: str) -> Iterator[Labelled]:
    """The labelled answers of a registered dataset, in order; rows that are none are left out.

    Raises:
        UsageError, DataError: like `labels.check_labelled`; DataError for a dataset that is not a local file.
    """
    dataset = check_labelled(workspace, [name])[0]
    yield from _good_rows(dataset, *labelled_of(workspace, dataset))


def pairs_of(workspace: Workspace, dataset: RegisteredDataset) -> tuple[Callable[[Any], Pair], Collection[str]]:
    """How a row of this dataset becomes a pair (or BadRow is raised), and the columns that takes."""
    entry = read_registry(workspace)[dataset.name]
    if is_ours(entry):
        return _as_written(from_row), PAIR_COLUMNS
    return _pair_of(dataset, entry.get("tags") or {}), dataset.columns.values()


def labelled_of(workspace: Workspace, dataset: RegisteredDataset) -> tuple[Callable[[Any], Labelled], Collection[str]]:
    """How a row of this dataset becomes a labelled answer (or BadRow is raised), and the columns that takes."""
    entry = read_registry(workspace)[dataset.name]
    if is_ours(entry, "labels"):
        return _as_written(labelled_from_row), LABEL_COLUMNS
    return _labelled_of(dataset, entry.get("tags") or {}), dataset.columns.values()


def _good_rows(dataset: RegisteredDataset, convert: Callable[[Any], Kept], columns: Collection[str]) -> Iterator[Kept]:
    for file in local_files(dataset):
        for row in open_rows(file).rows(columns):
            try:
                kept = convert(row.value)
            except BadRow:
                continue
            yield kept


def _as_written(convert: Callable[[dict[str, Any]], Kept]) -> Callable[[Any], Kept]:
    """The conversion of a file that rlguide wrote, and that somebody may have changed since."""

    def checked(row: Any) -> Kept:
        try:
            return convert(row)
        except (KeyError, TypeError, ValueError):
            raise BadRow("not a row that rlguide wrote") from None

    return checked


def _pair_of(dataset: RegisteredDataset, tags: dict[str, Any]) -> Callable[[Any], Pair]:
    """A function from a row to its pair, by the entry's columns and tags."""
    sharegpt = dataset.formatting != "alpaca"
    names = {"messages": "conversations"} if sharegpt else {"prompt": "instruction", "query": "input"}
    rename = _renamer(tags)

    def convert(value: Any) -> Pair:
        row = _columns(dataset, names, value)
        if sharegpt:
            row["conversations"] = _each(rename, row.get("conversations"))
            row["chosen"], row["rejected"] = turn(rename(row["chosen"])).value, turn(rename(row["rejected"])).value
            pair = Sharegpt().to_pairs(row)[0]
        else:
            pair = Alpaca().to_pairs({"instruction": "", **row})[0]
        check_structure(pair)
        check_unicode(pair.messages, pair.system, pair.chosen, pair.rejected)
        return pair

    return convert


def _labelled_of(dataset: RegisteredDataset, tags: dict[str, Any]) -> Callable[[Any], Labelled]:
    """A function from a row to its labelled answer, by the entry's columns and tags."""
    names = {"kto_tag": "label", "prompt": "instruction", "query": "input", "response": "output"}
    rename = _renamer(tags)

    def convert(value: Any) -> Labelled:
        row = _columns(dataset, names, value)
        if dataset.formatting == "alpaca":
            labelled = KtoAlpaca().to_labelled({"instruction": "", **row})
        else:
            labelled = KtoMessages().to_labelled({**row, "messages": _each(rename, row.get("messages"))})
        check_labelled_row(labelled)
        return labelled

    return convert


def _columns(dataset: RegisteredDataset, names: dict[str, str], value: Any) -> dict[str, Any]:
    """The columns of a row that the entry names, under the names that our formats know."""
    if not isinstance(value, dict):
        raise BadRow("not an object")
    return {names.get(key, key): value.get(column) for key, column in dataset.columns.items()}


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


def _each(rename: Callable[[Any], Any], messages: Any) -> Any:
    return [rename(message) for message in messages] if isinstance(messages, list) else messages
