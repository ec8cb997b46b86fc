"""What a run took beside its plan reaches the next plan; what says nothing does not."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlguide.catalog.gpus import parse_gpus
from rlguide.engine.events import Begun, EngineEvent, Logged, Progress
from rlguide.errors import RlguideError
from rlguide.planner.learnt import Outcome, allowance_for, efficiency_for, known_outcomes
from rlguide.policy.run_record import RunRecord
from rlguide.runs import planned
from rlguide.runs.planned import Stopwatch, pace_of, tell_failure
from rlguide.runs.record import Run
from rlguide.workspace import Workspace

GPUS = parse_gpus("2xA6000")
FLOPS, TOTAL = 1e17, 200  # of the whole run, and its steps
PLANNED = Outcome("", GPUS.model.name, 2, "bf16", "dpo", setting="s", planned_bytes=10 << 30)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    clock = Clock()
    return clock


def run_of(plan: dict[str, Any] | None, **values: Any) -> Run:
    return Run(Path("saves/a"), "saves/a", RunRecord(id="1", plan=plan, **values))


def plan() -> dict[str, Any]:
    return {"outcome": asdict(PLANNED), "flops": FLOPS, "seconds": 1000.0, "peak": 1, "longest": [1, 2, 3]}


def trained(run: Run, clock: Clock, steps: int, seconds: float) -> Stopwatch:
    """A training whose first step takes a minute."""
    pace = pace_of(run)
    watch = Stopwatch(run, pace)

    def see(event: EngineEvent) -> None:
        pace.see(event, clock.now)
        watch.see(event)

    see(Begun(0, TOTAL, 2))
    clock.now += 60
    for step in range(1, steps + 1):
        see(Progress("train", step, TOTAL))
        clock.now += seconds
    see(Logged(steps, {"loss": 0.5}, peak_bytes=11 << 30))
    return watch


def test_the_next_plan_expects_the_speed_of_this_run(clock: Clock) -> None:
    trained(run_of(plan()), clock, TOTAL, 4.0).tell()
    (outcome,) = known_outcomes()
    assert outcome.steps == TOTAL - 1 and outcome.peak_bytes == 11 << 30
    assert outcome.flops_per_second == pytest.approx(FLOPS / (TOTAL * 4.0))
    assert outcome.planned_flops_per_second == pytest.approx(FLOPS / 1000)
    share = efficiency_for(GPUS, PLANNED)
    assert share.mid == pytest.approx(FLOPS / (TOTAL * 4.0) / (2 * GPUS.model.peak("bf16")))  # type: ignore[operator]
    assert "measured once: the same setting" in share.why


def test_a_run_that_goes_on_tells_after_twenty_steps(clock: Clock) -> None:
    trained(run_of(plan()), clock, 21, 4.0)
    (outcome,) = known_outcomes()
    assert outcome.steps == 20 and outcome.flops_per_second == pytest.approx(FLOPS / (TOTAL * 4.0))


def test_after_twenty_steps_the_time_left_and_the_next_plan_agree(clock: Clock) -> None:
    """Evaluations are in both, those to come too, although the first twenty steps had one only."""
    config = {"eval_strategy": "steps", "eval_steps": 10, "save_strategy": "no"}
    run = run_of(plan(), config=config, held_out={"a_test": 80}, effective_batch=8)
    pace = pace_of(run)
    watch, begun = Stopwatch(run, pace), clock.now
    pace.see(Begun(0, TOTAL, 2), clock.now)
    for step in range(1, 22):
        clock.now += 4
        pace.see(Progress("train", step, TOTAL), clock.now)
        watch.see(Progress("train", step, TOTAL))
        if step == 10:
            clock.now += 100
            pace.see(Logged(step, {"eval_loss": 0.5}), clock.now)
    left = pace.left(clock.now)
    share = efficiency_for(GPUS, PLANNED)
    planned_seconds = FLOPS / share.mid / (2 * GPUS.model.peak("bf16"))  # type: ignore[operator]
    assert left is not None and clock.now - begun + left == pytest.approx(planned_seconds, rel=0.05)
    assert planned_seconds == pytest.approx(TOTAL * 4 + (TOTAL // 10 + 1) * 100)


def test_a_short_run_or_one_without_a_plan_tells_nothing(clock: Clock) -> None:
    trained(run_of(plan()), clock, 19, 4.0).tell()
    trained(run_of(None), clock, TOTAL, 4.0).tell()
    trained(run_of({"outcome": {"gpu": 1}, "flops": "many"}), clock, TOTAL, 4.0).tell()
    assert known_outcomes() == []


def test_what_ran_out_of_memory_raises_what_is_allowed_for(clock: Clock) -> None:
    figures = {"total": 47 << 30, "others": 0}
    before = allowance_for(GPUS.model).of(10 << 30)
    failure = {"memory": "gpu", "during": "training", "figures": figures}
    for other in ({**failure, "memory": "main"}, {**failure, "during": "evaluation"}, {**failure, "figures": {}}, None):
        tell_failure(run_of(plan(), failure=other))
    assert allowance_for(GPUS.model).of(10 << 30) == before
    tell_failure(run_of({**plan(), "outcome": asdict(PLANNED) | {"planned_bytes": 40 << 30}}, failure=failure))
    assert 40 * (1 << 30) + allowance_for(GPUS.model).of(40 << 30) > 47 << 30


@pytest.mark.parametrize("error", [TypeError("odd"), ZeroDivisionError(), RlguideError("no engine", "make one")])
def test_a_plan_that_fails_keeps_nobody_from_training(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("rlguide.planner.asked.of_prepared", fail)
    prepared: Any = SimpleNamespace(config={}, engine=None)
    assert planned.plan_of(Workspace(Path()), prepared, False, GPUS) is None
    assert "could not be planned" in capsys.readouterr().err


@pytest.mark.parametrize("longest", [[], [5], [3, -1], [1, 2.5, 3], [1, "2", 3], {}, None, [10**30, 1, 1]])
def test_a_record_that_says_nothing_of_lengths_says_nothing_of_what_fits(
    longest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlguide.planner.asked.host_gpus", lambda: GPUS)
    monkeypatch.setattr("rlguide.policy.base.find_base", lambda *_: SimpleNamespace(config={"num_hidden_layers": 2}))
    fits = planned.fits_of(Workspace(Path()), run_of({**plan(), "longest": longest}, method="dpo"), None)  # type: ignore
    assert fits({"model_name_or_path": "m"}) is None
