"""The columns of the files that rlguide writes, and the way of pairs and labelled answers into and out of them.

Flat columns, so that one file serves several of LLaMA-Factory's stages by registry entries alone (see `entries`): the
last question is `prompt`, what was said before is `history`. Parquet, because its columns have a type whatever the
first rows hold (in JSON lines an empty history is a list of nothing), and for its size and speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rlguide.data.example import GPT, HUMAN, Labelled, Pair, Turn

if TYPE_CHECKING:
    import pyarrow as pa


PAIR_COLUMNS = ("system", "history", "prompt", "chosen", "rejected", "chosen_score", "rejected_score")
LABEL_COLUMNS = ("system", "history", "prompt", "answer", "label")


def schema(labelled: bool) -> pa.Schema:
    """The types of `LABEL_COLUMNS` or `PAIR_COLUMNS`."""
    import pyarrow as pa

    text = pa.string()
    types = {
        "history": pa.list_(pa.list_(text)),
        "label": pa.bool_(),
        "chosen_score": pa.float64(),
        "rejected_score": pa.float64(),
    }
    return pa.schema([(name, types.get(name, text)) for name in (LABEL_COLUMNS if labelled else PAIR_COLUMNS)])


def to_batch(examples: Sequence[Any], labelled: bool) -> pa.RecordBatch:
    """Examples (all of them `Labelled`, or all `Pair`), checked before, as a batch of `schema(labelled)`.

    Raises:
        UnicodeEncodeError: a text is not valid Unicode; the checks refuse such rows.
    """
    import pyarrow as pa

    columns: list[list[Any]] = [
        [example.system for example in examples],
        [_history(example.messages) for example in examples],
        [example.messages[-1].value for example in examples],
    ]
    if labelled:
        columns += [[example.answer for example in examples], [example.desirable for example in examples]]
    else:
        columns += [[example.chosen for example in examples], [example.rejected for example in examples]]
        scores = [example.scores or (None, None) for example in examples]
        columns += [[chosen for chosen, _ in scores], [rejected for _, rejected in scores]]
    types = schema(labelled)
    return pa.record_batch(
        [pa.array(column, type=field.type) for column, field in zip(columns, types, strict=True)], schema=types
    )


def _history(messages: tuple[Turn, ...]) -> list[list[str]]:
    if len(messages) == 1:
        return []
    return [[messages[at].value, messages[at + 1].value] for at in range(0, len(messages) - 1, 2)]


def from_row(row: dict[str, Any]) -> Pair:
    """The pair in a row of a file that rlguide wrote."""
    scores = (row.get("chosen_score"), row.get("rejected_score"))
    known = (scores[0], scores[1]) if scores[0] is not None and scores[1] is not None else None
    return Pair(messages(row), row["chosen"], row["rejected"], row["system"], known)


def labelled_from_row(row: dict[str, Any]) -> Labelled:
    """The labelled answer in a row of a file that rlguide wrote."""
    return Labelled(messages(row), row["answer"], row["label"], row["system"])


def messages(row: dict[str, Any]) -> tuple[Turn, ...]:
    """The conversation in such a row: `history` and `prompt`."""
    if not row["history"]:
        return (Turn(HUMAN, row["prompt"]),)
    earlier = [turn for asked, answered in row["history"] for turn in (Turn(HUMAN, asked), Turn(GPT, answered))]
    return (*earlier, Turn(HUMAN, row["prompt"]))
