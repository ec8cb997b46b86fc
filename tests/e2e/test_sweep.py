"""A sweep on the real engine: killed with all that it started, gone on with, and its winner is the best run."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rlguide.engine.running import openers
from tests.e2e.conftest import QUICK, SFT, Bench

pytest.importorskip("optuna")
pytestmark = pytest.mark.engine

NAME = "扫 sweep"
FOLDER = f"saves/sweeps/{NAME}"
GRID = ("--grid", "learning_rate=1e-5,3e-3", "--name", NAME)


def keys(**changed: object) -> list[str]:
    """The `--set` options of a quick run but for the learning rate, with other values."""
    quick = dict(setting.split("=") for setting in QUICK if not setting.startswith("learning_rate="))
    return [word for key, value in {**quick, **changed}.items() for word in ("--set", f"{key}={value}")]


def kill_trial(folder: Path, process: Any) -> None:
    """Kill the sweep, then all that trains for its first trial, as if the host went down, once it has a checkpoint."""
    deadline = time.monotonic() + 300
    while not list(folder.glob("trial-000/checkpoint-*/trainer_state.json")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    for pid in openers(folder / ".trial-000.lock"):  # its rlguide; the engine has a group of its own
        os.kill(pid, signal.SIGKILL)
    with suppress(ProcessLookupError):
        os.killpg(json.loads((folder / "trial-000/run.json").read_text())["pid"], signal.SIGKILL)


def test_a_sweep_that_is_killed_goes_on_and_the_best_run_wins(bench: Bench) -> None:
    # Many short steps, so that it is killed between the first checkpoint and the end.
    steps = keys(max_steps=30, eval_steps=10)
    command = ("sweep", "--sft-ckpt", SFT, "--dataset", "polite", *GRID, *steps, "--json")
    folder = bench.root / FOLDER
    kill_trial(folder, bench.start(*command))
    assert json.loads((folder / "trial-000/run.json").read_text())["status"] != "finished"
    assert not (folder / "trial-001").exists()

    done = bench.run(*command)
    found = json.loads(done.stdout)
    assert "resuming from step" in (folder / "trial-000.log").read_text()
    assert [(trial["number"], trial["state"], trial["step"]) for trial in found["trials"]] == [
        (0, "finished", 30),
        (1, "finished", 30),
    ]
    losses = {}
    for trial in found["trials"]:
        rows = [json.loads(line) for line in (bench.root / trial["run"] / "metrics.jsonl").read_text().splitlines()]
        held_out = {row["step"]: row["eval_loss"] for row in rows if "eval_loss" in row}
        assert set(held_out) == {10, 20, 30}
        losses[trial["run"]] = min(held_out.values())
        config = json.loads((bench.root / trial["run"] / "run.json").read_text())["config"]
        assert config["learning_rate"] == trial["settings"]["learning_rate"]
    winner = found["winner"]
    assert winner["run"] == min(losses, key=lambda name: losses[name]) == f"{FOLDER}/trial-001"
    assert winner["value"] == pytest.approx(losses[winner["run"]])
    # `rlguide eval` scored each pair with both, and says the same of the winner as its training did.
    assert winner["pairs"] == 12 and winner["distinguishable"] is True
    assert winner["figure"]["value"] == pytest.approx(winner["value"], abs=1e-3)
    others = [value for name, value in losses.items() if name != winner["run"]]
    assert winner["difference"]["value"] == pytest.approx(others[0] - winner["value"], abs=2e-3)

    before = {path: path.stat().st_mtime_ns for path in folder.glob("trial-*/adapter_model.safetensors")}
    again = bench.run("sweep", "--resume", NAME)
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("trial-*/adapter_model.safetensors")}
    assert "winner     trial 1: learning_rate 0.003" in again.stdout
    assert {row["name"] for row in json.loads(bench.run("runs", "--json").stdout)} == set(losses)
    said = next(line for line in again.stderr.splitlines() if line.startswith("next: "))
    first, *rest = said.removeprefix("next: ").split("    then: ")
    bench.run(*shlex.split(first)[1:])
    assert shlex.split(first)[-1] == winner["run"] and [shlex.split(line)[1] for line in rest] == ["chat", "export"]
    other = bench.run(*command[:-1], "--set", "seed=3", code=2)
    assert "other options" in other.stderr and "--name NAME" in other.stderr
