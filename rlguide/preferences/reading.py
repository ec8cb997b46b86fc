"""The pairs of a registered dataset, whoever wrote its entry and whatever file holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rlguide.errors import DataError
from rlguide.preferences.columns import PAIR_COLUMNS, from_row
from rlguide.preferences.entries import Entry, our_entry
from rlguide.preferences.pair import BadRow, Pair
from rlguide.preferences.readers import open_source
from rlguide.preferences.registry import RegisteredDataset, check_registered, data_files, read_registry
from rlguide.workspace import Workspace


def read_pairs(workspace: Workspace, name: str, limit: int | None = None) -> Iterator[Pair]:
    """The pairs of a registered dataset, in order, at most `limit`; rows that are no pair are left out.

    Raises:
        UsageError, DataError: like `check_registered`; DataError also for a dataset that is not a local file.
    """
    dataset = check_registered(workspace, [name])[0]
    entry = read_registry(workspace)[name]
    if dataset.path is None:
        raise DataError(
            f"dataset {name} is fetched by the engine; rlguide has no file of it",
            "use `rlguide download` or `register`",
        )
    ours = entry == our_entry(str(entry.get("file_name")))
    convert = _ours if ours else _converter(dataset, entry)
    left = limit
    for file in data_files(dataset.path):
        for row in open_source(file).rows(PAIR_COLUMNS if ours else dataset.columns.values()):
            if left == 0:
                return
            try:
                pair = convert(row.value)
            except BadRow:
                continue
            yield pair
            left = None if left is None else left - 1


def _ours(row: Any) -> Pair:
    """`columns.from_row`, for a file that somebody may have changed since."""
    try:
        return from_row(row)
    except (KeyError, TypeError):
        raise BadRow("not a row that rlguide wrote") from None


def _converter(dataset: RegisteredDataset, entry: Entry) -> Callable[[Any], Pair]:
    """A function from a row to its pair, by the entry's columns and tags."""
    from rlguide.preferences.formats import Alpaca, Sharegpt
    from rlguide.preferences.pair import check_structure, turn

    tags = entry.get("tags") or {}
    role_key, content_key = tags.get("role_tag") or "from", tags.get("content_tag") or "value"
    sharegpt = dataset.formatting != "alpaca"
    plain = {"messages": "conversations"} if sharegpt else {"prompt": "instruction", "query": "input"}

    def convert(value: Any) -> Pair:
        if not isinstance(value, dict):
            raise BadRow("not an object")
        row = {plain.get(key, key): value.get(column) for key, column in dataset.columns.items()}
        if sharegpt:
            known = {tags.get("user_tag") or "human": "human", tags.get("assistant_tag") or "gpt": "gpt"}

            def rename(message: Any) -> Any:
                if isinstance(message, dict) and role_key in message and content_key in message:
                    role = message[role_key]
                    return {"from": known.get(role, role), "value": message[content_key]}
                return message

            messages = row.get("conversations")
            row["conversations"] = [rename(m) for m in messages] if isinstance(messages, list) else messages
            row["chosen"], row["rejected"] = turn(rename(row["chosen"])).value, turn(rename(row["rejected"])).value
            pair = Sharegpt().to_pairs(row)[0]
        else:
            pair = Alpaca().to_pairs({"instruction": "", **row})[0]
        check_structure(pair)
        return pair

    return convert
