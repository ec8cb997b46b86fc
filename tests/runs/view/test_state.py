"""What is known of a run while it trains, by its recorded events."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.engine.events import Begun, Ended, EventReader, Logged, Progress, Raised, Saved, Saving
from rlguide.runs.pace import Pace
from rlguide.runs.view.screen import Curves, document, lines_of, screen
from rlguide.runs.view.state import ENDING, EVALUATING, STARTING, TRAINING, RunState
from tests.runs.view.conftest import Clock, recorded


def test_each_phase_is_named_while_it_lasts(state: RunState, clock: Clock) -> None:
    """The recorded worker told of no beginning of an evaluation; its batches do."""
    phases = []
    for event in recorded():
        clock.now = event.time
        state.see(event)
        if not phases or phases[-1] != state.phase:
            phases.append(state.phase)
    one = [TRAINING, EVALUATING]
    assert phases == ["loading the model", *one, TRAINING, EVALUATING, ENDING, EVALUATING, ENDING]
    assert (state.step, state.total) == (162, 162)


def test_an_evaluation_says_its_batches_and_its_time(state: RunState, clock: Clock) -> None:
    said = []
    for event in recorded():
        clock.now = event.time
        state.see(event)
        if isinstance(event, Progress) and event.phase == "eval":
            said.append(state.doing())
    assert said[0] == "evaluating: batch 1 of 11, 0:00:01 left of it"
    assert said[4].startswith("evaluating: batch 9 of 11, 0:00:00 left")


def test_time_left_and_time_past_are_about_the_same_together_in_a_recorded_run(state: RunState, clock: Clock) -> None:
    """Its steps took 0.13 s in the first epoch and 0.09 s in the second: half of it is not yet measured at first."""
    events = recorded()
    begun, end = events[1].time, events[-1].time
    course = []
    for event in events:
        clock.now = event.time
        state.see(event)
        if (left := state.left()) is not None and state.step > 20:
            course.append((clock.now - begun, left))
    assert all(past + left == pytest.approx(end - begun, rel=0.35) for past, left in course)
    climbs = [after[1] - before[1] for before, after in pairwise(course)]
    assert max(climbs) < 2  # seconds, the error of an evaluation: the recorded worker did not tell when one began


def test_before_its_speed_is_known_the_plan_says_how_long_it_takes(clock: Clock) -> None:
    state = RunState("saves/a", {}, Pace({}, 100), 1000.0, clock)
    assert state.left() is None
    state.see(Begun(0, 100, 1, time=clock.now))
    assert state.left() == 1000.0
    for step in range(1, 4):
        clock.now += 4
        state.see(Progress("train", step, 100, time=clock.now))
    assert state.left() == pytest.approx(97 * 4)


def test_what_came_after_the_checkpoint_that_a_run_resumes_from_does_not_count(clock: Clock) -> None:
    state = RunState("saves/a", {}, Pace({}, 9), now=clock)
    for step in range(1, 7):
        state.see(Logged(step, {"loss": 1.0 / step}, time=clock.now))
    state.see(Raised((("A", "b"),)))
    state.see(Begun(4, 9, 1, time=clock.now + 100))
    assert [row["step"] for row in state.rows] == [1, 2, 3, 4]
    assert (state.step, state.latest["loss"], state.raised) == (4, 0.25, [])
    assert state.started == clock.now  # this attempt began with the imports of the engine


def test_tokens_a_second_times_its_seconds_of_training_are_all_tokens(clock: Clock) -> None:
    """An evaluation and a save between two logs do not slow it down."""
    state = RunState("saves/a", {}, Pace({}, 40), now=clock)
    state.see(Begun(0, 40, 1, time=clock.now))
    sizes = [(5, 700.0), (5, 1300.0), (10, 900.0), (5, 1100.0)]
    step = tokens = 0
    trained = []
    for steps, each in sizes:
        for _ in range(steps):
            clock.now += 2.0
            step, tokens = step + 1, tokens + int(each)
            state.see(Progress("train", step, 40, time=clock.now))
        state.see(Logged(step, {"loss": 0.5}, tokens=tokens, time=clock.now))
        trained.append(state.rows[-1]["tokens_per_second"] * steps * 2.0)
        state.see(Progress("eval", 0, 0, time=clock.now))
        clock.now += 50
        state.see(Logged(step, {"eval_loss": 0.5}, time=clock.now))
        state.see(Saving(step, time=clock.now))
        clock.now += 20
        state.see(Saved(step, time=clock.now))
    assert trained == pytest.approx([steps * each for steps, each in sizes])
    assert "tokens_per_second" not in state.rows[-1]  # of the evaluation


def test_the_engines_own_count_goes_before_ours(clock: Clock) -> None:
    state = RunState("saves/a", {}, Pace({}, 40), now=clock)
    state.see(Begun(10, 40, 1, time=clock.now))
    for step, own in ((11, 11_000.0), (12, 12_000.0)):
        clock.now += 2
        values = {"loss": 0.5, "num_input_tokens_seen": own, "train_runtime": 1.0}
        state.see(Logged(step, values, tokens=7, time=clock.now))
    assert [row.get("tokens_per_second") for row in state.rows] == [None, 500.0]


def test_a_wrong_reference_is_said_at_once_and_once(clock: Clock) -> None:
    """Also to one who attaches later, and where it begins again."""
    state = RunState("saves/a", {"stage": "dpo"}, Pace({}, 9), now=clock)
    for _ in range(2):
        state.see(Begun(0, 9, 1, time=clock.now))
        first = {"loss": 0.6248, "rewards/chosen": 0.87, "rewards/rejected": 0.5}
        state.see(Logged(1, first, time=clock.now))
        state.see(Logged(2, {"loss": 0.6}, time=clock.now))
    (note,) = state.notes
    assert note.startswith("warning: the first step has loss 0.6248") and state.check is not None
    assert not state.check.ok and note in document(state)["notes"] and note in lines_of(state)
    assert "NOT the starting policy" in screen(state, 200, 30).plain


def test_no_row_has_what_cannot_be_drawn(clock: Clock) -> None:
    state = RunState("saves/a", {}, Pace({}, 9), now=clock)
    state.see(Logged(1, {"loss": math.nan, "grad_norm": math.inf, "learning_rate": 1e-5}, time=clock.now))
    assert state.rows == [{"learning_rate": 1e-5, "step": 1}]


EVENTS = st.sampled_from(["begin", "step", "eval_batch", "log", "saving", "save", "end", "error", "lean"])
NUMBERS = st.integers(-5, 10**12) | st.floats() | st.none()
LINES = st.fixed_dictionaries(
    {"event": EVENTS},
    optional={
        **dict.fromkeys(["step", "total_steps", "processes", "done", "total", "batch", "tokens", "time"], NUMBERS),
        "values": st.dictionaries(st.sampled_from(["loss", "eval_loss", "epoch", "eval_runtime", "kl"]), NUMBERS),
        "chain": st.just([{"type": "A", "message": "b"}]),
    },
)


@given(st.lists(LINES, max_size=30), st.integers(1, 120), st.integers(1, 50))
def test_whatever_the_events_say_it_can_be_shown(lines: list[dict[str, Any]], width: int, height: int) -> None:
    import json

    clock, reader = Clock(1e9), EventReader()
    state = RunState("saves/a", {"save_steps": 3}, Pace({"save_steps": 3}, 9, 8, 2), now=clock)
    for line in lines:
        clock.now += 1
        if (event := reader.read(json.dumps(line))) is not None:
            state.see(event)
    shown = screen(state, width, height, curves=Curves()).plain.split("\n")
    assert len(shown) <= height
    assert lines_of(state) and json.dumps(document(state), allow_nan=False)


def test_a_run_that_trains_no_more_stands_still(state: RunState, clock: Clock) -> None:
    for event in recorded()[:40]:
        clock.now = event.time
        state.see(event)
    state.end("failed")
    before = state.elapsed()
    clock.now += 1000
    assert (state.elapsed(), state.left(), state.doing()) == (before, None, "failed")
    assert state.phase != STARTING


def test_a_run_that_hangs_is_seen_to(clock: Clock) -> None:
    state = RunState("saves/a", {}, Pace({}, 9), now=clock)
    for step in range(1, 5):
        clock.now += 20
        state.see(Progress("train", step, 9, time=clock.now))
    for seconds, said in ((100, "training"), (190, "training"), (201, "training, silent for 0:03:21")):
        clock.now = (state.pace.last or 0) + seconds
        assert state.doing() == said
    assert state.left() == pytest.approx(4 * 20)  # the step that goes on is over since long, as far as that can be told


def test_the_end_of_training_is_not_the_end(clock: Clock) -> None:
    state = RunState("saves/a", {}, Pace({}, 2), now=clock)
    state.see(Progress("train", 2, 2, time=clock.now))
    state.see(Ended(2, time=clock.now))
    assert state.doing() == "writing the result"
