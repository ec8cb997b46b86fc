"""A workspace, and sweeps whose trials are trained by the stand-in."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlguide.recipes.options import TrainingOptions
from rlguide.sweeps import process
from rlguide.sweeps.notation import parse_axes
from rlguide.sweeps.objective import Objective
from rlguide.sweeps.sweep import GRID, SEARCH, Sweep
from rlguide.workspace import Workspace

STAND_IN = Path(__file__).with_name("stand_in.py")
LOSS = Objective("loss", "eval_loss", False)
ACCURACY = Objective("accuracy", "eval_rewards/accuracies", True)


def grid(*texts: str, objective: Objective = LOSS, name: str = "扫 sweep") -> Sweep:
    axes = parse_axes(GRID, texts)
    count = 1
    for axis in axes:
        count *= len(axis.ends)
    return Sweep(name, GRID, axes, count, 0, TrainingOptions(), objective, "dpo")


def search(*texts: str, trials: int, seed: int = 0) -> Sweep:
    return Sweep("s", SEARCH, parse_axes(SEARCH, texts), trials, seed, TrainingOptions(), LOSS, "dpo")


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    root = tmp_path / "工作 space"
    root.mkdir()
    return Workspace(root)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Asks the stand-in for what is given; returns the file that it reads."""
    file = tmp_path / "stand_in.json"

    def ask(**asked: Any) -> Path:
        file.write_text(json.dumps({"steps": 4, "pause": 0.02, **asked}))
        return file

    ask()
    monkeypatch.setenv("STAND_IN", str(file))
    monkeypatch.setattr(process, "rlguide_command", lambda *words: (sys.executable, str(STAND_IN), *words))
    monkeypatch.setattr("rlguide.sweeps.conduct.POLL", 0.05)
    return ask
