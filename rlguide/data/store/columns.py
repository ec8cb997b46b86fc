"""The columns of the files that rlguide writes, and the way of examples into and out of them.

Flat columns, so that one file serves several of LLaMA-Factory's stages by registry entries alone (see `dataset_info`):
the last message is `prompt`, what was said before is `history`. Parquet, because its columns have a type whatever the
first rows hold (in JSON lines an empty history is a list of nothing), and for its size and speed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from rlguide.data.example import GPT, HUMAN, Example, ExampleKind, Turn, parse_label

if TYPE_CHECKING:
    import pyarrow as pa


COLUMNS: dict[ExampleKind, tuple[str, ...]] = {
    "pairs": ("system", "history", "prompt", "chosen", "rejected", "chosen_score", "rejected_score"),
    "labels": ("system", "history", "prompt", "answer", "label"),
    "responses": ("system", "history", "prompt", "response"),
}


def schema(kind: ExampleKind) -> pa.Schema:
    """The types of `COLUMNS[kind]`."""
    import pyarrow as pa

    text = pa.string()
    types = {
        "history": pa.list_(pa.list_(text)),
        "label": pa.bool_(),
        "chosen_score": pa.float64(),
        "rejected_score": pa.float64(),
    }
    return pa.schema([(name, types.get(name, text)) for name in COLUMNS[kind]])


def to_batch(examples: Sequence[Example], kind: ExampleKind) -> pa.RecordBatch:
    """Examples of one kind, whose texts have been checked to be Unicode, as a batch of `schema(kind)`."""
    import pyarrow as pa

    load_arrow()
    types = schema(kind)
    if not examples:
        return pa.RecordBatch.from_pylist([], types)
    prompts, responses, systems, scores, labels = zip(*examples, strict=True)
    histories = [_history(messages) if len(messages) > 1 else [] for messages in prompts]
    columns = [systems, histories, [messages[-1][1] for messages in prompts]]
    columns += zip(*responses, strict=True)
    if kind == "labels":
        columns.append(labels)
    elif kind == "pairs":
        columns += zip(*[both or (None, None) for both in scores], strict=True)
    return pa.record_batch(
        [pa.array(column, type=field.type) for column, field in zip(columns, types, strict=True)], schema=types
    )


# Read once, when numpy and pyarrow are loaded. The threads of numpy's linear algebra run idle for a while after they
# were started: 0.05 s where cores are few. Memory that pyarrow's allocator, mimalloc, has given back must be cleared
# when it is wanted again a moment later: 0.1 s for 60,000 rows. It is given back after so many milliseconds.
_AT_LOADING = {"OPENBLAS_NUM_THREADS": "1", "MIMALLOC_PURGE_DELAY": "1000"}


class _NoPandas:
    """Says that there is no pandas. pyarrow imports it, where it is, at its first array: 0.3 s for nothing here."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ImportError(name)


@cache
def load_arrow() -> None:
    """Load pyarrow, and numpy with it, without what takes long and is of no use here."""
    new = {name: value for name, value in _AT_LOADING.items() if name not in os.environ}
    os.environ.update(new)
    import pyarrow as pa

    for name in new:
        del os.environ[name]  # what is started from here may want another
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([None])  # pyarrow asks only once
    finally:
        sys.meta_path.remove(finder)


def _history(messages: tuple[Turn, ...]) -> list[list[str]]:
    return [[messages[at].value, messages[at + 1].value] for at in range(0, len(messages) - 1, 2)]


def from_row(row: dict[str, Any]) -> Example:
    """The example in a row of a file that rlguide wrote. Raises KeyError, TypeError or ValueError for another row."""
    if "label" in row:
        return Example.labelled(messages(row), row["answer"], parse_label(row["label"]), row["system"])
    if "chosen" not in row:
        return Example.single(messages(row), row["response"], row["system"])
    better, worse = row.get("chosen_score"), row.get("rejected_score")
    scores = None if better is None or worse is None else (better, worse)
    return Example.pair(messages(row), row["chosen"], row["rejected"], row["system"], scores)


def messages(row: dict[str, Any]) -> tuple[Turn, ...]:
    """The conversation in such a row: `history` and `prompt`."""
    history = row["history"] or ()
    earlier = [turn for prompt, response in history for turn in (Turn(HUMAN, prompt), Turn(GPT, response))]
    return (*earlier, Turn(HUMAN, row["prompt"]))
