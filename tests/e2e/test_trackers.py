"""Trackers on the real engine: what they wrote is what the trainer logged. Two at once, in one short run."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from tests.e2e.conftest import SFT, Bench, settings

pytestmark = pytest.mark.engine

DPO = "saves/tiny/lora/dpo"


def test_tensorboard_and_trackio_hold_what_was_logged(bench: Bench, tmp_path: Path) -> None:
    missing = {"tensorboard", "trackio"} - bench.engine.versions.keys()
    if missing:
        pytest.skip(f"the engine has no {' and no '.join(sorted(missing))} (the extra `trackers`)")
    options = settings("max_steps=3", "eval_strategy=no")
    environment = {"TRACKIO_DIR": str(tmp_path / "trackio")}
    arguments = ("--sft-ckpt", SFT, "--dataset", "polite", "--report-to", "tensorboard,trackio", *options)
    done = bench.run("train", *arguments, env=environment)
    assert "reports to tensorboard: " in done.stderr and "sends something away" not in done.stderr
    logged = [row for row in bench.history(DPO) if "loss" in row]
    assert len(logged) == 3
    for key in ("loss", "grad_norm", "rewards/margins"):
        values = pytest.approx([row[key] for row in logged], rel=1e-6)
        assert of_tensorboard(bench.root / DPO, f"train/{key}") == values, key
        assert of_trackio(tmp_path / "trackio", f"train/{key}") == values, key


def of_tensorboard(run: Path, tag: str) -> list[float]:
    """The values of a tag in the event file in a run's folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = run.glob("runs/*/events.out.tfevents.*")
    events = EventAccumulator(str(file))
    events.Reload()
    return [event.value for event in events.Scalars(tag)]


def of_trackio(folder: Path, tag: str) -> list[float]:
    """The values of a metric in the only database in Trackio's folder."""
    (file,) = folder.glob("*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("SELECT metrics FROM metrics ORDER BY step, id").fetchall()
    return [values[tag] for (text,) in rows if tag in (values := json.loads(text))]
