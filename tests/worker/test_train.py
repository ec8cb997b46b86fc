"""What a training's processes end with, told by the one that started them."""

from __future__ import annotations

import pytest

from tests.worker.conftest import worker_module

ENDED = [([1, -15], 1), ([-15, 3], 3), ([1, -9], 137), ([-15, -11], 139), ([-15, -15], 143), ([0, 2], 2), ([0], 1)]


@pytest.mark.parametrize(("codes", "code"), ENDED)
def test_those_that_torchrun_ended_say_nothing(codes: list[int], code: int) -> None:
    """One process fails with 1, and the other is sent signal 15: it was not a job scheduler that ended the training."""
    assert worker_module("train").exit_code(codes) == code
