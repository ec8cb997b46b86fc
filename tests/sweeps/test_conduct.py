"""Sweeps whose trials are trained by a stand-in: killed, interrupted, failing, hopeless."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from rlguide.engine.running import openers
from rlguide.errors import RlguideError
from rlguide.sweeps import study as studies
from rlguide.sweeps.conduct import SAME_FAILURES, Conductor, How
from rlguide.sweeps.process import lock_of, running_trial, start_trial
from rlguide.sweeps.space import grid_points
from rlguide.sweeps.study import Study
from rlguide.sweeps.sweep import FILE, Sweep, folder_of
from rlguide.sweeps.trials import FAILED, FINISHED, PRUNED, rank, run_name
from rlguide.workspace import Workspace
from tests.sweeps.conftest import LOSS, STAND_IN, grid

pytest.importorskip("optuna")
pytestmark = pytest.mark.usefixtures("stand_in")


def conduct(ws: Workspace, sweep: Sweep, slots: int = 1) -> Conductor:
    return Conductor(ws, sweep, Study(folder_of(ws, sweep.name), sweep), How(("",) * slots))


def steps(ws: Workspace, sweep: Sweep, number: int) -> list[int]:
    """The steps that a trial has taken, in their order."""
    text = (ws.root / run_name(sweep, number) / "steps.jsonl").read_text()
    return [json.loads(line)["step"] for line in text.splitlines()]


def test_a_grid_comes_to_its_end_and_the_lowest_loss_wins(ws: Workspace) -> None:
    sweep = grid("learning_rate=1,2.5,4")
    trials = conduct(ws, sweep, slots=2).to_the_end()
    assert [(trial.state, trial.step, dict(trial.settings)) for trial in trials] == [
        (FINISHED, 4, point) for point in grid_points(sweep.axes)
    ]
    assert [trial.number for trial in rank(trials, LOSS)] == [1, 2, 0]
    assert [trial.value for trial in trials] == [2.0, 0.5, 1.0]
    record = json.loads((folder_of(ws, sweep.name) / FILE).read_text())
    assert [item["value"] for item in record["results"]] == [2.0, 0.5, 1.0]
    assert [trial.value for trial in conduct(ws, sweep).to_the_end()] == [2.0, 0.5, 1.0]  # nothing is done again
    assert all(steps(ws, sweep, number) == [1, 2, 3, 4] for number in range(3))


def test_as_many_run_at_a_time_as_there_are_slots(ws: Workspace, stand_in: Callable[..., Path]) -> None:
    stand_in(pause=0.3)
    sweep, most = grid("learning_rate=1,2,3,4"), [0]
    found = conduct(ws, sweep, slots=2)

    def see(trials: object, number: int | None) -> None:
        most.append(sum(bool(openers(lock_of(ws, sweep, number))) for number in range(4)))

    found.see = see
    found.to_the_end()
    assert max(most) == 2


KILLED = 5
# Runs the sweep in a process of its own, which can be killed.
DRIVER = """
import sys
from dataclasses import replace
from pathlib import Path
from rlguide.sweeps import conduct, process
from rlguide.sweeps.study import Study
from rlguide.sweeps.sweep import folder_of
from rlguide.workspace import Workspace
from tests.sweeps.conftest import grid
process.rlguide_command = lambda *words: (sys.executable, sys.argv[2], *words)
conduct.POLL = 0.02
ws, sweep = Workspace(Path(sys.argv[1])), replace(grid("learning_rate=1,2,3,4,5,6"), is_pruned=False)
folder = folder_of(ws, sweep.name)
print("begun", flush=True)
conduct.Conductor(ws, sweep, Study(folder, sweep), conduct.How(("", ""))).to_the_end()
print("done", flush=True)
"""


def test_kill_9_at_any_moment_loses_no_trial_and_doubles_none(
    ws: Workspace, stand_in: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, draw = grid("learning_rate=1,2,3,4,5,6"), random.Random(7)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    def alive() -> list[int]:
        return [pid for number in range(6) for pid in openers(lock_of(ws, sweep, number))]

    orphans = 0
    for turn in range(KILLED + 1):
        # Those that a kill leaves behind are slow enough to be found by the next sweep.
        stand_in(steps=6, pause=1.0 if turn < KILLED else 0.05)
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(ws.root), str(STAND_IN)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        if turn == KILLED:
            assert process.communicate(timeout=300)[0] == "done\n" and process.returncode == 0
            break
        while turn % 2 and process.poll() is None and not alive():
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 1.0))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL  # it did not stumble over what still ran
        if turn in (1, 2):  # the host went down: the trials, too
            for pid in alive():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        orphans += bool(alive())
    assert orphans
    assert not (folder_of(ws, sweep.name) / "conflicts").exists()  # no two ever trained the same
    study = Study(folder_of(ws, sweep.name), sweep)
    assert [study.settings(number) for number in study.numbers()] == grid_points(sweep.axes)
    assert study.open_numbers() == [] and len(list(folder_of(ws, sweep.name).glob("trial-???"))) == 6
    for number in range(6):
        assert steps(ws, sweep, number) == [1, 2, 3, 4, 5, 6]  # each step once: resumed, not begun anew


def test_ctrl_c_stops_the_trials_and_the_same_command_goes_on(ws: Workspace, stand_in: Callable[..., Path]) -> None:
    stand_in(steps=30, pause=0.05)
    sweep = grid("learning_rate=1,2")
    first = conduct(ws, sweep, slots=2)

    def see(trials: object, number: int | None) -> None:
        paths = [ws.root / run_name(sweep, number) / "steps.jsonl" for number in range(2)]
        if all(path.exists() for path in paths):
            raise KeyboardInterrupt

    first.see = see
    with pytest.raises(KeyboardInterrupt):
        first.to_the_end()
    assert [trial.state for trial in conduct(ws, sweep).trials()] == ["interrupted", "interrupted"]
    assert all(not openers(lock_of(ws, sweep, number)) for number in range(2))
    stand_in(steps=6, pause=0.01)
    trials = conduct(ws, sweep, slots=2).to_the_end()
    assert [trial.state for trial in trials] == [FINISHED, FINISHED]
    assert all(taken == list(range(1, len(taken) + 1)) for taken in (steps(ws, sweep, 0), steps(ws, sweep, 1)))


def test_trials_that_all_fail_the_same_way_end_the_sweep_with_the_cause(
    ws: Workspace, stand_in: Callable[..., Path]
) -> None:
    values = ",".join(map(str, range(1, 9)))
    sweep = replace(grid(f"learning_rate={values}"), is_pruned=False)
    stand_in(fail={f"learning_rate={value}": "gpu lost" for value in range(1, 9)})
    with pytest.raises(RlguideError, match=f"{SAME_FAILURES} trials failed in the same way.*gpu lost") as caught:
        conduct(ws, sweep).to_the_end()
    assert "rlguide sweep --resume" in caught.value.fix
    assert len(Study(folder_of(ws, sweep.name), sweep).numbers()) == SAME_FAILURES
    stand_in()  # it is put right
    assert [trial.state for trial in conduct(ws, sweep).to_the_end()] == [FINISHED] * 8


def test_a_trial_that_fails_alone_is_shown_with_its_cause(ws: Workspace, stand_in: Callable[..., Path]) -> None:
    sweep = grid("learning_rate=1,2,3")
    stand_in(fail={"learning_rate=2": "gpu lost"})
    trials = conduct(ws, sweep).to_the_end()
    assert [trial.state for trial in trials] == [FINISHED, FAILED, FINISHED]
    assert trials[1].cause == "trial-001: gpu lost"
    assert [trial.number for trial in rank(trials, LOSS)] == [2, 0]


def test_a_hopeless_trial_is_stopped_and_cannot_win(
    ws: Workspace, stand_in: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "STARTUP_TRIALS", 2)
    stand_in(steps=10, pause=0.1)
    sweep = grid("learning_rate=3,3.5,9")
    trials = conduct(ws, sweep).to_the_end()
    assert [trial.state for trial in trials] == [FINISHED, FINISHED, PRUNED]
    assert trials[2].step < 10 and trials[2].value is not None
    assert [trial.number for trial in rank(trials, LOSS)] == [0, 1]
    again = conduct(ws, sweep)
    assert [trial.state for trial in again.to_the_end()] == [FINISHED, FINISHED, PRUNED]


def test_what_an_earlier_sweep_wrote_is_data(ws: Workspace, stand_in: Callable[..., Path]) -> None:
    sweep = grid("learning_rate=1,2")
    for slot in ("GPU-5f1c-aa", "3"):
        lock = lock_of(ws, sweep, 0)
        stand_in(steps=20, pause=0.05)
        arguments = ["train", "--set", "learning_rate=1", "-o", run_name(sweep, 0)]
        started = start_trial(ws, sweep, 0, arguments, slot)
        found = running_trial(ws, sweep, 0)
        assert found is not None and found.slot == slot
        with found.lock.open("w") as file:
            file.write("0;\x1b[2J")
        again = running_trial(ws, sweep, 0)
        assert again is not None and again.slot == ""
        started.ask_to_stop()
        started.wait()
        lock.unlink()
    os.mkfifo(lock_of(ws, sweep, 0))  # nobody will write to it
    assert running_trial(ws, sweep, 0) is None
    mine = ws.root / "mine"
    mine.write_text("kept")
    (ws.root / f"{run_name(sweep, 1)}.log").symlink_to(mine)
    with pytest.raises(OSError):
        start_trial(ws, sweep, 1, ["train"])
    assert mine.read_text() == "kept" and running_trial(ws, sweep, 1) is None


def test_trials_that_only_hand_the_training_in_are_waited_for_and_stopped(
    ws: Workspace, stand_in: Callable[..., Path]
) -> None:
    """As on a cluster, or where the rlguide of a trial was killed and its engine trains on."""
    stand_in(steps=40, pause=0.05, detached=True)
    sweep = grid("learning_rate=1,2")
    first = conduct(ws, sweep, slots=2)

    def see(trials: object, number: int | None) -> None:
        folders = [ws.root / run_name(sweep, number) for number in range(2)]
        is_held = any(openers(lock_of(ws, sweep, number)) for number in range(2))
        if not is_held and all((folder / "steps.jsonl").exists() for folder in folders):
            raise KeyboardInterrupt

    first.see = see
    with pytest.raises(KeyboardInterrupt):
        first.to_the_end()
    assert [trial.state for trial in conduct(ws, sweep).trials()] == ["interrupted", "interrupted"]
    stand_in(steps=6, pause=0.05, detached=True)
    assert [trial.state for trial in conduct(ws, sweep, slots=2).to_the_end()] == [FINISHED, FINISHED]
    assert not (folder_of(ws, sweep.name) / "conflicts").exists()


SWEEP = (
    DRIVER.partition("print(")[0]
    + """
from rlguide.sweeps.run import run_sweep
print("begun", flush=True)
run_sweep(ws, sweep, conduct.How(("", "")), False)
"""
)


def test_a_signal_stops_all_and_says_how_to_go_on(
    ws: Workspace, stand_in: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(steps=100, pause=0.1)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    sweep = grid("learning_rate=1,2,3,4,5,6")
    words = [sys.executable, "-c", SWEEP, str(ws.root), str(STAND_IN)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not all((ws.root / run_name(sweep, number) / "steps.jsonl").exists() for number in range(2)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "Resume with: rlguide sweep --resume '扫 sweep'" in said
    assert not any(openers(lock_of(ws, sweep, number)) for number in range(6))
    trials = conduct(ws, sweep).trials()
    assert [(trial.number, trial.state) for trial in trials] == [(0, "interrupted"), (1, "interrupted")]
