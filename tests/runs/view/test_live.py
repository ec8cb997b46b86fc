"""What `train` says while it trains, where nothing can be drawn: plain lines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rlguide.engine.events import Progress
from rlguide.engine.job import Idle, Line
from rlguide.runs.diagnosis.finding import Finding, finding_lines
from rlguide.runs.view.live import TrainingView
from rlguide.runs.view.state import RunState
from tests.runs.view.conftest import NAME, Clock, recorded

FINDING = Finding("gradient", "warning", 16, "seen so", "means that", "do this", "rlguide train", "a source")


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.split("\n")


def test_each_log_is_a_line_and_each_finding_is_said_once(
    state: RunState, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    later = replace(FINDING, rule="over_optimised", step=96)
    state.diagnosis = lambda rows: [FINDING] * (rows[-1]["step"] >= 16) + [later] * (rows[-1]["step"] >= 96)
    with TrainingView(state) as view:
        for event in recorded():
            clock.now = event.time
            view.handle(event)
    lines = lines_of(capsys)
    assert lines[0] == f"{NAME}: starting the engine (its imports take about 10 s)"
    logs = [line for line in lines if line.startswith("step ") and " loss " in line]
    assert [line.split("  ")[0] for line in logs[:4]] == ["step 1/162", "step 8/162", "step 16/162", "step 24/162"]
    for finding, step in ((FINDING, 16), (later, 96)):
        first, *rest = finding_lines(finding)
        at = lines.index(first)
        assert lines.count(first) == 1 and lines[at + 1 : at + 1 + len(rest)] == rest
        assert lines[at - 1].startswith(f"step {step}/162")


def test_a_long_silence_is_broken_and_says_how_far_an_evaluation_is(
    state: RunState, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """It looked hung for over a minute."""
    with TrainingView(state) as view:
        for event in recorded()[:40]:
            clock.now = event.time
            view.handle(event)
        capsys.readouterr()
        begun = clock.now
        for second in range(100):
            clock.now = begun + second
            view.handle(Progress("eval", second, 200, time=clock.now))
            view.handle(Idle())
    said = lines_of(capsys)
    assert len(said) == 3 + 1  # every 30 s
    assert "evaluating: batch 62 of 200, 0:02:1" in said[1] and "since the start" in said[1] and "left 0:0" in said[1]


def test_the_phases_before_the_first_step_are_said(state: RunState, capsys: pytest.CaptureFixture[str]) -> None:
    with TrainingView(state) as view:
        for line in ("Loading dataset", "Running tokenizer on dataset", "anything", "loading weights file x"):
            view.handle(Line(line))
    phases = ["loading the data", "tokenizing the data", "loading the model"]
    assert lines_of(capsys)[1:-1] == [f"{NAME}: {phase}" for phase in phases]


def test_what_is_noted_comes_behind_its_log(
    state: RunState, clock: Clock, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with TrainingView(state) as view:
        for event in recorded()[:6]:
            clock.now = event.time
            view.handle(event)
        view.note("warning: one more")
    lines = lines_of(capsys)
    at = lines.index("the first rewards are 0, as they must be: the reference is the starting policy")
    assert lines[at - 1].startswith("step 1/162  loss 0.8662") and "warning: one more" in lines[at + 1 :]
