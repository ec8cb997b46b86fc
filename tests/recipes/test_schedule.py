"""Steps and batches. That they are the engine's own is held by tests/e2e/test_train.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.recipes.schedule import intervals, schedule


@pytest.mark.parametrize(
    ("rows", "batch", "accumulation", "processes", "epochs", "steps"),
    [
        (61135, 1, 8, 2, 3.0, 11463),  # UltraFeedback on two GPUs: 3 x ceil(30568 / 8)
        (48, 1, 2, 1, 1.0, 24),
        (48, 1, 4, 2, 1.0, 6),
        (1, 1, 8, 2, 3.0, 3),
        (10, 4, 2, 1, 0.5, 1),
    ],
)
def test_known_cases(rows: int, batch: int, accumulation: int, processes: int, epochs: float, steps: int) -> None:
    config = {
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "num_train_epochs": epochs,
    }
    result = schedule(config, rows, 0, processes)
    assert result.total_steps == steps
    assert result.effective_batch == batch * accumulation * processes


def test_limits_and_split() -> None:
    assert schedule({"max_steps": 7, "num_train_epochs": 3}, 100, 0, 1).total_steps == 7
    assert schedule({"max_samples": 10}, 100, 20, 1).rows == 10
    split = schedule({"val_size": 0.05}, 101, 0, 1)
    assert (split.rows, split.held_out) == (95, 6)
    assert schedule({"val_size": 0.05}, 101, 9, 1).rows == 101  # eval_dataset wins


@given(st.integers(1, 10**6))
def test_intervals_fit_the_run(total: int) -> None:
    found = intervals(total)
    assert all(1 <= value <= total for value in found.values())
    assert found["save_steps"] <= 200
