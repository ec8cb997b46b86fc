"""Recorded runs, and their folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlguide.engine.events import EngineEvent, EventReader
from rlguide.runs.planned import pace_of
from rlguide.runs.record import Run, read_run
from rlguide.runs.view.state import RunState
from rlguide.runs.view.training import state_of
from rlguide.workspace import Workspace

RECORDED = Path(__file__).with_name("recorded") / "dpo.jsonl"  # of `rlguide demo`: DPO, 162 steps, two evaluations
NAME = "saves/demo/lora/dpo"
CONFIG = {
    "report_to": "none",
    **{"stage": "dpo", "eval_strategy": "epoch", "eval_steps": 17, "save_steps": 33, "num_train_epochs": 2.0},
    **{"per_device_eval_batch_size": 16, "pref_ftx": 0.2, "use_cpu": True, "report_to": "none"},
}


def recorded_lines() -> list[str]:
    return RECORDED.read_text().splitlines()


def recorded() -> list[EngineEvent]:
    reader = EventReader()
    return [event for line in recorded_lines() if (event := reader.read(line)) is not None]


def make_run(root: Path, name: str = NAME, **values: Any) -> Run:
    """The folder of a run with its record."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        **{"id": "1", "method": "dpo", "status": "running", "created": "2026-01-01T00:00:00+00:00", "base": "b"},
        **{"stack": ["s", name], "reference": {"base": "b", "adapters": ["s"]}, "total_steps": 162},
        **{"datasets": {"pairs": 648}, "held_out": {"pairs_test": 168}, "effective_batch": 8, "processes": 1},
        **{"config": CONFIG, **values},
    }
    (folder / "run.json").write_text(json.dumps(record))
    return read_run(Workspace(root), folder)


class Clock:
    """Seconds since the epoch, which a test moves."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(recorded()[0].time)


@pytest.fixture
def state(tmp_path: Path, clock: Clock) -> RunState:
    """The recorded run before its first event."""
    run = make_run(tmp_path)
    found = state_of(run)
    return RunState(run.name, run.config, pace_of(run), found.planned, clock)
