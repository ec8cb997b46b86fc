"""What a JSON object that is a whole file holds: rows by key, columns, lists of rows, or one row."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from rlguide.data.readers.source import Row, named, numbered
from rlguide.data.readers.words import COLUMNS, LISTS, MESSAGE, SPLIT_NAME
from rlguide.errors import DataError

_PANDAS_SPLIT = frozenset(("columns", "data", "index", "index_names", "column_names"))
_LABEL = re.compile(r"(.{0,40}?)\d+")  # of a row: 0, id_0, q17
_HASH = re.compile(r"[0-9a-fA-F-]{16,}")
_INDEX = re.compile(r"index|level_\d+")
_ERROR = frozenset(("error", "message", "status", "statusCode", "code", "detail"))  # keys of what a server answers
_VIEWER = {"row_idx", "row"}  # the answer of the dataset viewer of Hugging Face


@dataclass(frozen=True)
class Layout:
    """How the object is read: in words for the screen, and its rows, with their number from 1 on."""

    kind: str
    values: Iterable[Any]
    notes: tuple[str, ...] = ()
    lists: frozenset[str] = frozenset()  # the keys whose lists are the rows, if they can be read one by one as they are

    def rows(self) -> Iterator[Row]:
        """The rows with their numbers; one that is not what the others are comes as a broken one."""
        return numbered(self.values)


def find_layout(where: str, value: dict[str, Any]) -> Layout:
    """Tell what the object is. Raises DataError, naming the file as `where`, where that is not clear, or no rows."""
    if not value:
        raise DataError(f"{where} is an empty JSON object", "name a file that holds preference pairs")
    if set(value) <= _ERROR and set(value) & {"error", "detail"}:
        told = str(value.get("error") or value.get("detail"))[:100]
        raise DataError(f"{where} is the error message of a server: {told}", "fetch the file again")
    only = next(iter(value.values()))
    if len(value) == 1 and is_nested(only) and not set(map(str.lower, value)) & COLUMNS:
        return replace(find_layout(where, only), lists=frozenset())
    return (
        _pandas(where, value)
        or _lists_of_rows(where, value)
        or _columns(where, value)
        or _rows_by_key(where, value)
        or Layout("one JSON object", [value], ("the whole file is one row",))
    )


def table(where: str, names: list[str], rows: Iterable[Any]) -> Iterator[Any]:
    """Rows that are lists, as objects with these names. Raises DataError if a name comes twice."""
    if len(set(names)) < len(names):
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        raise DataError(f"{where}: more than one column is called {named(twice)}", "give each column a name of its own")
    for row in rows:
        fits = isinstance(row, list) and len(row) == len(names)
        yield dict(zip(names, row, strict=True)) if fits else Row(0, None, f"not a list of {len(names)} values")


def _pandas(where: str, value: dict[str, Any]) -> Layout | None:
    """What `DataFrame.to_json` writes with orient "split" and "table"."""
    names, rows = value.get("columns"), value.get("data")
    if isinstance(names, list) and isinstance(rows, list) and set(value) <= _PANDAS_SPLIT:
        return Layout("JSON of pandas (split)", table(where, [str(name) for name in names], rows))
    schema = value.get("schema")
    if isinstance(schema, dict) and isinstance(schema.get("fields"), list) and isinstance(rows, list):
        keys = schema.get("primaryKey") or []
        keys = keys if isinstance(keys, list) else [keys]
        index = {key for key in keys if isinstance(key, str) and _INDEX.fullmatch(key)}
        return Layout("JSON of pandas (table)", (_without(row, index) for row in rows))
    return None


def _without(row: Any, keys: set[str]) -> Any:
    return {key: cell for key, cell in row.items() if key not in keys} if isinstance(row, dict) else row


def is_rows(value: Any) -> bool:
    """Whether this is a list of rows, and not the list of messages in one row."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) for one in value)
        and not all(set(one) <= MESSAGE for one in value)
    )


def _lists_of_rows(where: str, value: dict[str, Any]) -> Layout | None:
    """{"train": [...], "test": [...]}, {"version": ..., "data": [...]}, {"anything": [...]}."""
    lists = {key: rows for key, rows in value.items() if is_rows(rows)}
    splits = {key: rows for key, rows in lists.items() if SPLIT_NAME.fullmatch(key)}
    empty = {key for key, rows in value.items() if rows == []}
    if splits and set(value) <= {*splits, *empty}:
        rows = (with_split(row, key) for key, rows in splits.items() for row in rows)
        note = f"its lists are the splits {named(list(splits))}"
        return Layout("JSON lists in an object", rows, (note,) * (len(splits) > 1), frozenset(splits))
    usual = {key: rows for key, rows in lists.items() if key.lower() in LISTS or key in splits}
    if set(map(str.lower, value)) & COLUMNS and not (usual and len(lists) == len(value)):
        return None  # a row
    if not usual and len(lists) == len(value):
        usual = lists
    if not usual:
        return None
    if len(usual) > 1:
        raise DataError(
            f"{where} holds several lists of objects: {named(list(usual))}",
            "keep one in the file, or call them train and test if they are splits",
        )
    ((key, rows),) = usual.items()
    others = [name for name in value if name != key]
    notes = (f"the rows are its list {key}; not used: {named(others)}",) if others else ()
    plain = frozenset() if set(rows[0]) >= _VIEWER else frozenset((key,))
    return Layout("JSON list in an object", map(_out_of_viewer, rows), notes, plain)


def with_split(row: Any, split: str) -> Any:
    """The row with a column `split`, unless it has one."""
    return {"split": split, **row} if isinstance(row, dict) else row


def _out_of_viewer(row: dict[str, Any]) -> Any:
    """A row, out of what the dataset viewer of Hugging Face puts around it."""
    if not set(row) >= _VIEWER or not isinstance(row["row"], dict) or not set(row) <= {*_VIEWER, "truncated_cells"}:
        return row
    return Row(0, None, "cut short by the dataset viewer") if row.get("truncated_cells") else row["row"]


def _columns(where: str, value: dict[str, Any]) -> Layout | None:
    """{"prompt": ["...", ...], "chosen": ["...", ...]}: columns as lists; or as objects, as pandas writes them."""
    columns = list(value.values())
    if all(isinstance(column, list) for column in columns):
        if any(column and all(isinstance(one, dict) and set(one) <= MESSAGE for one in column) for column in columns):
            return None  # a row with a cell that is a list of messages
        if len(set(map(len, columns))) > 1:
            if any(not isinstance(one, str) for column in columns for one in column):
                return None
            told = named([f"{key} {len(column):,}" for key, column in value.items()])
            raise DataError(
                f"{where}: its lists have different lengths: {told}", "give each column as many values as the others"
            )
        rows = (dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True))
        return Layout("JSON columns", rows)
    if all(isinstance(column, dict) and column for column in columns):
        labels = list(columns[0])
        same = all(len(column) == len(labels) and column.keys() == columns[0].keys() for column in columns)
        if same and _are_columns(where, list(value), labels):
            return Layout("JSON of pandas (columns)", ({key: value[key][label] for key in value} for label in labels))
    return None


def _are_columns(where: str, outer: list[str], inner: list[str]) -> bool:
    """Whether the outer keys name columns and the inner ones rows. Raises DataError if that cannot be told."""
    if set(inner) <= MESSAGE:
        return False
    outer_names, inner_names = (sum(name.lower() in COLUMNS for name in names) for names in (outer, inner))
    if bool(outer_names) != bool(inner_names):
        return bool(outer_names)
    outer_labels, inner_labels = _are_labels(outer), _are_labels(inner)
    if outer_labels != inner_labels:
        return inner_labels
    if max(len(outer), len(inner)) >= 4 * min(len(outer), len(inner)):  # a table has more rows than columns
        return len(inner) > len(outer)
    raise DataError(
        f"{where}: it is not clear whether {named(outer[:3])} or {named(inner[:3])} are the columns",
        "write it as a list of objects (pandas: orient='records')",
    )


def _are_labels(names: list[str]) -> bool:
    """Whether these are numbers, or a word with a number or a hash each, as labels of rows are."""
    found = [_LABEL.fullmatch(name) for name in names]
    return all(map(_HASH.fullmatch, names)) or (None not in found and len({match[1] for match in found if match}) == 1)


def _rows_by_key(where: str, value: dict[str, Any]) -> Layout | None:
    """{"id_0": {...}, "id_1": {...}}: rows under names of their own, which are not used."""
    if all(isinstance(row, dict) and set(row) <= MESSAGE for row in value.values()):
        return None  # a row whose cells are messages
    if not all(isinstance(row, dict) for row in value.values()):
        if len(value) > 3 * len(COLUMNS) and not set(map(str.lower, value)) & COLUMNS:
            raise DataError(
                f"{where} is one JSON object whose {len(value):,} keys do not all hold objects: {named(list(value))}",
                "write the rows as a list of objects",
            )
        return None
    if set(map(str.lower, value)) & COLUMNS or (len(value) == 1 and not _are_labels(list(value))):
        return None
    return Layout("JSON objects by key", value.values(), ("each value of the object is a row; the keys are not used",))


def is_nested(value: Any) -> bool:
    """Whether an object in an object holds lists of rows, as in {"result": {"rows": [...]}}."""
    return isinstance(value, dict) and any(map(is_rows, value.values()))
