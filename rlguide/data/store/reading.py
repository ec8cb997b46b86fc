"""The examples of a registered dataset, whoever wrote its entry and whatever file holds them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from rlguide.data.cells.asked import Asked, engine_prompt
from rlguide.data.cells.values import conversation, response
from rlguide.data.checks.examples import check_structure, check_unicode
from rlguide.data.example import GPT, BadRow, Example, ExampleKind, parse_label
from rlguide.data.readers.files import open_source
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

    Raises UsageError or DataError as `examples_by_row`.
    """
    return (example for example in examples_by_row(workspace, name) if example is not None)


def examples_by_row(workspace: Workspace, name: str) -> Iterator[Example | None]:
    """One for every row of a registered dataset, None for a row that is not an example.

    Raises UsageError or DataError as `check_registered`, and DataError for a dataset that is not a local file.
    """
    found = dataset_kind(workspace, name)
    kind: ExampleKind = "pairs" if found == "other" else found
    (dataset,) = check_registered(workspace, [name], kind)
    convert, columns = converter(workspace, dataset)
    for file in local_files(dataset):
        for row in open_source(file).rows(columns):
            try:
                yield convert(row.value)
            except BadRow:
                yield None


def converter(workspace: Workspace, dataset: RegisteredDataset) -> tuple[Callable[[Any], Example], Collection[str]]:
    """How a row of this dataset becomes an example (or BadRow is raised), and the columns that takes."""
    entry = read_registry(workspace)[dataset.name]
    kind: ExampleKind = "pairs" if dataset.ranking else "labels"
    for ours in (kind, "responses") if not dataset.ranking else (kind,):
        if is_ours(entry, ours):
            return _as_written, COLUMNS[ours]
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
    asked, rename = Asked(systems=("system",), media=("tools", "images", "videos", "audios")), renamer(tags)

    def convert(value: Any) -> Example:
        if not isinstance(value, dict):
            raise BadRow("not an object")
        row = {NAMES.get(key, key): value.get(column) for key, column in dataset.columns.items()}
        messages = engine_prompt(row) if alpaca else conversation(_renamed(row.get("conversations"), rename))
        if pairs:
            chosen, rejected = (response(_renamed(row.get(side), rename), side) for side in ("chosen", "rejected"))
            messages, system = asked.split(row, messages)
            example = Example.pair(messages, chosen, rejected, system)
        else:
            if not alpaca and (not messages or messages[-1].role != GPT):
                raise BadRow("the messages do not end with the assistant")
            given = response(row.get("output"), "output") if alpaca else messages[-1].value
            rest, system = asked.split(row, messages if alpaca else messages[:-1])
            example = Example.labelled(rest, given, parse_label(row.get("label")), system)
        check_structure(example)
        check_unicode(example)
        return example

    return convert


def _renamed(value: Any, rename: Callable[[Any], Any]) -> Any:
    return list(map(rename, value)) if isinstance(value, list) else rename(value)


def renamer(tags: dict[str, Any]) -> Callable[[Any], Any]:
    """A function from a message with the entry's tags to one with sharegpt's."""
    role_key, content_key = tags.get("role_tag") or "from", tags.get("content_tag") or "value"
    known = {tags.get("user_tag") or "human": "human", tags.get("assistant_tag") or "gpt": "gpt"}

    def rename(message: Any) -> Any:
        if isinstance(message, dict) and role_key in message and content_key in message:
            role = message[role_key]
            return {"from": known.get(role, role), "value": message[content_key]}
        return message

    return rename
