"""Steps and batches. That they are the engine's own is held by tests/e2e/test_train.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.errors import UsageError
from rlguide.recipes.schedule import intervals, mixture, schedule


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
    result = schedule(config, [rows], [], processes)
    assert result.total_steps == steps
    assert result.effective_batch == batch * accumulation * processes


def test_limits_and_split() -> None:
    assert schedule({"max_steps": 7, "num_train_epochs": 3}, [100], [], 1).total_steps == 7
    assert schedule({"max_samples": 10}, [100], [20], 1).rows == 10
    split = schedule({"val_size": 0.05}, [101], [], 1)
    assert (split.rows, split.held_out) == (95, 6)
    assert schedule({"val_size": 0.05}, [101], [9], 1).rows == 101  # eval_dataset wins
    for none in (0, -0.5, -3):
        assert schedule({"val_size": none}, [101], [], 1) == schedule({}, [101], [], 1)


@given(st.integers(1, 10**6))
def test_intervals_fit_the_run(total: int) -> None:
    found = intervals(total)
    assert all(1 <= value <= total for value in found.values())
    assert found["save_steps"] <= 200


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), st.sampled_from([None, 1, 7, 100]))
def test_the_mixture_is_that_of_the_engine(counts: list[int], limit: int | None) -> None:
    """Against what `datasets.interleave_datasets` does: turns until the shortest, or the longest, is used up."""
    cut = [min(count, limit or count) for count in counts]
    assert mixture({"max_samples": limit}, counts).rows == sum(cut)
    assert mixture({"max_samples": limit, "mix_strategy": "interleave_under"}, counts).rows == min(cut) * len(cut)
    assert mixture({"max_samples": limit, "mix_strategy": "interleave_over"}, counts).rows == max(cut) * len(cut)
    assert mixture({"max_samples": limit, "mix_strategy": "interleave_once"}, counts).rows == sum(cut)


def test_max_samples_is_for_each_dataset() -> None:
    """6 rows of 16 and 6 of 8 in batches of 4 are 3 steps; the smaller of 6 and 24 would be 2."""
    config = {"max_samples": 6, "per_device_train_batch_size": 4, "num_train_epochs": 1}
    assert schedule(config, [16, 8], [9, 9], 1).total_steps == 3
    assert schedule(config, [16, 8], [9, 9], 1).held_out == 12


def test_what_cannot_be_counted_says_about() -> None:
    drawn = {"mix_strategy": "interleave_under", "interleave_probs": "0.5,0.5"}
    assert schedule(drawn, [10, 20], [], 1).describe().startswith("about 20 pairs")
    assert "about" in schedule({}, [10, None], [], 1).describe()
    assert "about" not in schedule({"mix_strategy": "interleave_over"}, [10, 20], [], 1).describe()
    for text in ("0.5", "a,b", "0,1"):
        with pytest.raises(UsageError, match="interleave_probs"):
            schedule({**drawn, "interleave_probs": text}, [10, 20], [], 1)
