"""What a row costs in memory, so that a million different ones fit into 1 GB."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator

import pytest

from rlguide.data.curate.single_responses import single_responses
from rlguide.data.example import Example, Turn
from rlguide.data.inspect.collect import Collector, collect

MILLION = 1_000_000
FEW, MANY = 30_000, 70_000  # buffers of fixed size are full by then


def different(count: int) -> Iterator[Example]:
    for n in range(count):
        words = f"{n * 7919 % 10007} birds of {n} kinds and {n * 31 % 977} trees"
        yield Example.pair(
            (Turn("human", f"Tell me of {words}, please."),), f"Here are {words}.", f"No {n}.", "", (2.0, 1.0)
        )


def peak(work: Callable[[int], object], count: int) -> int:
    """Bytes at the most while so many rows are worked on."""
    tracemalloc.start()
    try:
        kept = work(count)
        found = tracemalloc.get_traced_memory()[1]
        del kept
        return found
    finally:
        tracemalloc.stop()


def inspected(count: int) -> object:
    # As of a million rows, of which a quarter is looked at closely.
    collector = collect(Collector(count, thorough=count // 4), different(count))
    return collector, collector.figures("x", None)


@pytest.mark.parametrize(
    ("work", "most"), [(inspected, 0.3e9), (lambda count: single_responses(different(count)), 0.25e9)]
)
def test_a_million_rows_fit(work: Callable[[int], object], most: float) -> None:
    """Beside Python, its libraries and the row groups in flight, which take 200 MB."""
    work(100)  # what is loaded once does not count
    bytes_a_row = (peak(work, MANY) - peak(work, FEW)) / (MANY - FEW)
    assert 0 < bytes_a_row * MILLION < most
