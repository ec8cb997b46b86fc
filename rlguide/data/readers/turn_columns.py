"""Columns of messages straight from Arrow to turns, without an object for each message: half of the time they take."""

from __future__ import annotations

from collections.abc import Collection
from itertools import pairwise, repeat
from typing import Any

from rlguide.catalog.columns import vocabulary
from rlguide.data.example import TOOL, Turn

_KEYS = ({"role", "content"}, {"from", "value"})
_make: Any = tuple.__new__  # what `Turn(...)` calls, in half of its time


def take_turns(batch: Any, columns: Collection[str]) -> tuple[Any, dict[str, list[tuple[Turn, ...]]]]:
    """The batch without those of these columns that are plain messages throughout, and their conversations by column.

    A column with anything else in it (a tool, a missing text, another key) stays, to be read message by message.

    Raises:
        UnicodeDecodeError: a text is not UTF-8.
    """
    taken: dict[str, list[tuple[Turn, ...]]] = {}
    for name in columns:
        if name in batch.schema.names and (found := _conversations(batch.column(name))) is not None:
            taken[name] = found
    return batch.drop_columns(list(taken)) if taken else batch, taken


def _conversations(column: Any) -> list[tuple[Turn, ...]] | None:
    import pyarrow.types as kinds

    kind = column.type
    if not (kinds.is_list(kind) or kinds.is_large_list(kind)) or column.null_count:
        return None
    if not kinds.is_struct(kind.value_type) or {field.name for field in kind.value_type} not in _KEYS:
        return None
    offsets = column.offsets.to_pylist()
    first, last = offsets[0], offsets[-1]
    messages = column.values.slice(first, last - first)
    role, text = ("role", "content") if "role" in {field.name for field in kind.value_type} else ("from", "value")
    if messages.null_count:
        return None
    said, texts = messages.field(role), messages.field(text)
    if texts.null_count or not (kinds.is_string(texts.type) or kinds.is_large_string(texts.type)):
        return None
    said, texts = said.to_pylist(), texts.to_pylist()
    known = {name: vocabulary().speakers.get(name) for name in set(said)}
    if {None, TOOL} & {*known.values()}:
        return None
    turns = list(map(_make, repeat(Turn), zip(map(known.__getitem__, said), texts, strict=True)))
    return [tuple(turns[start - first : end - first]) for start, end in pairwise(offsets)]
