"""Messages that come from Arrow as turns are those that come as objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from rlguide.data.cells.values import conversation
from rlguide.data.example import BadRow, turns
from rlguide.data.readers import parquet_rows
from rlguide.data.readers.files import open_source

MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "tool", "elf"]), "content": st.text()}
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(MESSAGES | st.none(), min_size=1, max_size=6),
    keys=st.sampled_from([("role", "content"), ("from", "value")]),
    at_once=st.sampled_from([1, 100, parquet_rows.OBJECT_BYTES]),
)
def test_both_ways_give_the_same_turns(
    tmp_path_factory: Any, rows: list[Any], keys: tuple[str, str], at_once: int
) -> None:
    path: Path = tmp_path_factory.mktemp("turns") / "rows.parquet"
    named = [None if row is None else [{keys[0]: one["role"], keys[1]: one["content"]} for one in row] for row in rows]
    kind = pa.list_(pa.struct([(keys[1], pa.string()), (keys[0], pa.string())]))
    pq.write_table(pa.table({"id": list(range(len(rows))), "talk": pa.array(named, kind)}), path)
    source = open_source(path)

    def read(value: Any, convert: Any) -> Any:
        try:
            return convert(value)
        except BadRow as reason:
            return str(reason)

    plain = [(row.value["id"], read(row.value["talk"], turns)) for row in source.rows()]
    with mock.patch.object(parquet_rows, "OBJECT_BYTES", at_once):
        found = list(source.rows(None, ["talk"]))
    assert [row.position for row in found] == list(range(1, len(rows) + 1))
    fast = [(row.value["id"], read(row.value["talk"], conversation)) for row in found]
    assert [row for row, named_row in zip(fast, named, strict=True) if named_row is not None] == [
        row for row, named_row in zip(plain, named, strict=True) if named_row is not None
    ]
