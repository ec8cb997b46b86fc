"""What failures teach of the memory that a GPU loses to CUDA and its allocator."""

from __future__ import annotations

from typing import Any

import pytest

from rlguide.planner.allowance import seen_allowance
from rlguide.policy.run_record import RunRecord

GIB = 2**30


def failure(device: str = "A6000", memory: str = "gpu", **figures: Any) -> dict[str, Any]:
    return {"memory": memory, "device": device, "figures": {"total": 48 * GIB, "free": GIB, **figures}}


def seen(*records: RunRecord) -> int:
    return seen_allowance(records, lambda name: name == "A6000")


def test_the_largest_of_all_failures_on_such_a_gpu() -> None:
    first = RunRecord(attempts=({"failure": failure(allocated=44 * GIB)}, {"failure": failure(allocated=45 * GIB)}))
    assert seen(first, RunRecord(failure=failure(allocated=46 * GIB))) == 3 * GIB
    assert seen(RunRecord(failure=failure(allocated=46 * GIB)), RunRecord()) == GIB


@pytest.mark.parametrize(
    "other",
    [
        failure("A100", allocated=10 * GIB),
        failure(memory="main", allocated=10 * GIB),
        failure(allocated=10 * GIB, others=20 * GIB),
        failure(),
        {"memory": "gpu", "device": "A6000", "figures": "many"},
        {"what": "something else"},
    ],
)
def test_what_says_nothing_of_it(other: dict[str, Any]) -> None:
    assert seen(RunRecord(failure=other), RunRecord(attempts=({"failure": other}, {"failure": 7}))) == 0
