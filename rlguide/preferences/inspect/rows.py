"""The rows of a registered dataset, pairs or labelled answers, whatever file holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rlguide.errors import DataError
from rlguide.preferences.columns import LABEL_COLUMNS, Example, labelled_from_row
from rlguide.preferences.entries import our_entry
from rlguide.preferences.label_formats import KtoAlpaca, KtoMessages
from rlguide.preferences.labelled import Labelled, check_labelled_row
from rlguide.preferences.labels import check_labelled
from rlguide.preferences.pair import BadRow
from rlguide.preferences.readers import open_source
from rlguide.preferences.reading import read_pairs
from rlguide.preferences.registry import RegisteredDataset, data_files, dataset_kind, read_registry
from rlguide.workspace import Workspace


def read_examples(workspace: Workspace, name: str) -> Iterator[Example]:
    """The good rows of a dataset in order.

    Raises:
        UsageError, DataError: like `reading.read_pairs`; DataError for a dataset that is neither kind.
    """
    if dataset_kind(workspace, name) == "labels":
        yield from read_labelled(workspace, name)
    else:
        yield from read_pairs(workspace, name)


def read_labelled(workspace: Workspace, name: str) -> Iterator[Labelled]:
    """The labelled answers of a registered dataset, in order; rows that are none are left out.

    Raises:
        UsageError, DataError: like `labels.check_labelled`; DataError for a dataset that is not a local file.
    """
    dataset = check_labelled(workspace, [name])[0]
    if dataset.path is None:
        raise DataError(
            f"dataset {name} is fetched by the engine; rlguide has no file of it",
            "use `rlguide download` or `register`",
        )
    entry = read_registry(workspace)[name]
    ours = entry == our_entry(str(entry.get("file_name")), "labels")
    convert = _ours if ours else _converter(dataset, entry.get("tags") or {})
    for file in data_files(dataset.path):
        for row in open_source(file).rows(LABEL_COLUMNS if ours else dataset.columns.values()):
            try:
                yield convert(row.value)
            except BadRow:
                continue


def _ours(row: Any) -> Labelled:
    """`columns.labelled_from_row`, for a file that somebody may have changed since."""
    try:
        return labelled_from_row(row)
    except (KeyError, TypeError, ValueError):
        raise BadRow("not a row that rlguide wrote") from None


def _converter(dataset: RegisteredDataset, tags: dict[str, Any]) -> Callable[[Any], Labelled]:
    plain = dataset.formatting == "alpaca"
    names = {"kto_tag": "label", "messages": "messages", "prompt": "instruction", "query": "input"}
    names["response"] = "output"
    role, content = tags.get("role_tag") or "from", tags.get("content_tag") or "value"
    known = {tags.get("user_tag") or "human": "human", tags.get("assistant_tag") or "gpt": "gpt"}

    def convert(value: Any) -> Labelled:
        if not isinstance(value, dict):
            raise BadRow("not an object")
        row = {names.get(key, key): value.get(column) for key, column in dataset.columns.items()}
        if plain:
            labelled = KtoAlpaca().to_labelled({"instruction": "", **row})
        else:
            messages = row.get("messages")
            if isinstance(messages, list) and all(isinstance(message, dict) for message in messages):
                row["messages"] = [
                    {"from": known.get(message.get(role), message.get(role)), "value": message.get(content)}
                    for message in messages
                ]
            labelled = KtoMessages().to_labelled(row)
        check_labelled_row(labelled)
        return labelled

    return convert
