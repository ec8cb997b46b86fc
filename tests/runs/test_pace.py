"""How long a run still takes: whatever it does, what is past and what is left are always the same together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlguide.engine.events import Begun, Ended, EngineEvent, Logged, Progress, Saved, Saving
from rlguide.runs.pace import Pace

TOTAL, PER_EPOCH, BATCHES = 60, 25, 10
HELD_OUT, BATCH = 80, 8


def uniform(step: float, evaluation: float, save: float, config: dict[str, Any]) -> Iterator[tuple[float, EngineEvent]]:
    """A run whose steps, evaluations and saves take as long each, as its worker tells it: (seconds, event)."""
    now = 1e9
    every, keeps = config.get("eval_steps"), config["save_steps"]
    yield now, Begun(0, TOTAL, 1, BATCH)
    for done in range(1, TOTAL + 1):
        now += step
        is_epoch = done % PER_EPOCH == 0 or done == TOTAL
        evaluates = done % every == 0 if config["eval_strategy"] == "steps" else is_epoch
        if config["eval_strategy"] == "no":
            evaluates = False
        yield now, Progress("train", done, TOTAL)
        if evaluates:
            yield now, Progress("eval", 0, 0)
        yield now, Logged(done, {"loss": 0.5, "epoch": done / PER_EPOCH})
        if evaluates:
            for at in range(1, BATCHES + 1):
                now += evaluation / BATCHES
                yield now, Progress("eval", at, BATCHES)
            yield now, Logged(done, {"eval_loss": 0.5, "epoch": done / PER_EPOCH})
        if done % keeps == 0 or done == TOTAL:
            yield now, Saving(done)
            now += save
            yield now, Saved(done)
    yield now, Logged(TOTAL, {"train_runtime": 1.0})
    yield now, Ended(TOTAL)
    if config["eval_strategy"] != "no":  # LLaMA-Factory's own at the end
        for at in range(1, BATCHES + 1):
            now += evaluation / BATCHES
            yield now, Progress("eval", at, BATCHES)
        yield now, Logged(TOTAL, {"eval_loss": 0.5})


CONFIGS = [
    {"eval_strategy": "steps", "eval_steps": 10, "save_steps": 20},
    {"eval_strategy": "steps", "eval_steps": 7, "save_steps": 12},
    {"eval_strategy": "epoch", "save_steps": 15, "num_train_epochs": TOTAL / PER_EPOCH},
    {"eval_strategy": "no", "save_steps": 20},
]


@pytest.mark.parametrize("config", CONFIGS)
@settings(max_examples=15)
@given(st.floats(0.5, 60), st.floats(1, 600), st.floats(0, 60))
def test_what_is_past_and_what_is_left_are_always_the_same_together(
    config: dict[str, Any], step: float, evaluation: float, save: float
) -> None:
    """At each event and at any moment between two, once each kind of work was seen."""
    events = list(uniform(step, evaluation, save, config))
    begun, end = events[0][0], events[-1][0]
    pace = Pace(config, TOTAL, HELD_OUT, BATCH)
    was_evaluated, was_saved, checked = config["eval_strategy"] == "no", False, 0
    for (now, event), (then, _) in zip(events, [*events[1:], (end, None)], strict=True):
        pace.see(event, now)
        was_evaluated |= isinstance(event, Logged) and event.kind == "eval"
        was_saved |= isinstance(event, Saved)
        for moment in (now, (now + then) / 2, then):
            left = pace.left(moment)
            if left is not None and was_evaluated and was_saved:
                checked += 1
                assert moment - begun + left == pytest.approx(end - begun, rel=1e-6)
    assert checked > TOTAL
    assert pace.left(end) == pytest.approx(0, abs=1e-6)
    assert pace.whole() == pytest.approx(end - begun)


def seen(config: dict[str, Any], until: int, **seconds: float) -> tuple[Pace, float]:
    """A run after so many steps; and the time."""
    pace, now = Pace(config, TOTAL, HELD_OUT, BATCH), 0.0
    for now, event in uniform(**{"step": 2.0, "evaluation": 30.0, "save": 1.0, **seconds}, config=config):
        pace.see(event, now)
        if isinstance(event, Progress) and event.phase == "train" and event.done == until:
            break
    return pace, now


def test_a_pause_is_not_taken_for_the_speed() -> None:
    pace, now = seen(CONFIGS[3], 15)
    before = pace.left(now)
    pace.see(Progress("train", 16, TOTAL), now + 3600)  # the host slept
    after = pace.left(now + 3600)
    assert before is not None and after == pytest.approx(before - 2)


def test_a_step_that_takes_longer_does_not_let_the_time_left_climb() -> None:
    pace, now = seen(CONFIGS[0], 35)
    course = [pace.left(now + seconds) or 0 for seconds in range(60)]
    assert course == sorted(course, reverse=True)
    assert course[0] - course[-1] == pytest.approx(2)


def test_a_resumed_run_counts_from_where_it_begins() -> None:
    pace, now = seen(CONFIGS[0], 35)
    pace.see(Begun(20, TOTAL, 1, BATCH), now + 5000)
    for step in range(21, 26):
        now = 2e9 + 2 * step
        pace.see(Progress("train", step, TOTAL), now)
    assert pace.to_come() == 5 and pace.to_come("save") == 2  # at 30, 40, 50, 60 and the last; at 40 and 60
    assert pace.left(now) == pytest.approx(35 * 2 + 5 * 30 + 2 * 1)


@given(
    st.dictionaries(
        st.sampled_from(["eval_strategy", "eval_steps", "save_steps", "save_strategy", "num_train_epochs"]),
        st.none() | st.sampled_from(["steps", "epoch", "no"]) | st.floats() | st.integers(-3, 10**6),
    ),
    st.lists(
        st.tuples(
            st.floats(0, 1e10),
            st.builds(Begun, st.integers(0, 99), st.integers(0, 99), st.just(1))
            | st.builds(Progress, st.sampled_from(["train", "eval"]), st.integers(0, 99), st.integers(0, 99))
            | st.builds(
                Logged,
                st.integers(0, 99),
                st.dictionaries(st.sampled_from(["loss", "eval_loss", "eval_runtime", "epoch"]), st.floats()),
            )
            | st.builds(Saving, st.integers(0, 99))
            | st.builds(Saved, st.integers(0, 99)),
        ),
        max_size=20,
    ),
)
def test_whatever_a_record_says_there_is_an_answer(config: dict[str, Any], events: list[tuple[float, Any]]) -> None:
    pace = Pace(config, 99, HELD_OUT, BATCH)
    for now, event in events:
        pace.see(event, now)
        left = pace.left(now + 1)
        assert left is None or left >= 0
        pace.whole(), pace.evaluation_left(now + 1)
