from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.example import Example
from rlguide.data.store.columns import COLUMNS, from_row, schema, to_batch
from tests.data.conversations import labels, pairs


@given(st.lists(pairs(), max_size=4), st.lists(labels(), max_size=4))
def test_examples_of_each_kind_come_back(two: list[Example], one: list[Example]) -> None:
    for kind, examples in (("pairs", two), ("labels", one)):
        batch = to_batch(examples, kind)  # type: ignore[arg-type]
        assert tuple(batch.schema.names) == COLUMNS[kind] and batch.schema == schema(kind)  # type: ignore[index,arg-type]
        assert [from_row(row) for row in batch.to_pylist()] == examples
        assert all(example.kind == kind for example in examples)


@given(pairs())
def test_a_pair_is_split_into_its_responses(pair: Example) -> None:
    good, bad = pair.split()
    assert (good.responses, good.label, bad.responses, bad.label) == ((pair.chosen,), True, (pair.rejected,), False)
    assert all((part.messages, part.system) == (pair.messages, pair.system) for part in (good, bad))


def test_no_batch_imports_pandas() -> None:
    code = (
        "import sys; from rlguide.data.example import Example, Turn; from rlguide.data.store.columns import to_batch;"
        "to_batch([Example.pair((Turn('human', 'q'),), 'a', 'b')], 'pairs'); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_what_is_started_from_here_has_the_threads_that_it_was_given() -> None:
    """numpy itself starts no threads for its linear algebra, and the setting for that is not handed on."""
    code = (
        "import os; from rlguide.data.store.columns import load_arrow; before = dict(os.environ); load_arrow();"
        "from pathlib import Path; assert os.environ == before; print(len(list(Path('/proc/self/task').iterdir())))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    threads = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment | given, check=True
        )
        for given in ({}, {"OPENBLAS_NUM_THREADS": "1"}, {"OPENBLAS_NUM_THREADS": "2"})
    ]
    assert threads[0].stdout == threads[1].stdout
