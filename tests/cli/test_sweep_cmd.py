"""`rlguide sweep` as it is typed; what it starts is the stand-in for `rlguide train`."""

# ruff: noqa: F401, F811  (fixtures of another folder)

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlguide.catalog.gpus import parse_gpus
from rlguide.planner import plan
from rlguide.sweeps import begin
from rlguide.sweeps.sweep import read_sweep
from rlguide.workspace import Workspace
from tests.cli.command import run
from tests.planner.conftest import step_of
from tests.recipes.conftest import ENGINE, SFT, ws
from tests.sweeps.conftest import stand_in

pytest.importorskip("optuna")
GRID = ("sweep", "--sft-ckpt", SFT, "--no-eval", "--grid", "learning_rate=1e-6,5e-6")
NAME = "dpo-learning_rate"


@pytest.fixture(autouse=True)
def here(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from rlguide.recipes import checks

    monkeypatch.setattr(begin, "load_schema", lambda engine: checks.load_schema(engine))
    monkeypatch.setattr("rlguide.engine.find.find_engine", lambda name: ENGINE)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.chdir(ws.root)


@pytest.mark.parametrize(
    ("words", "trials", "by"),
    [
        (["--grid", "pref_beta=0.05,0.1,0.3", "learning_rate=1e-6,5e-6"], 6, "accuracy"),
        (["--grid", "pref_beta=0.05,0.1,0.3", "--grid", "learning_rate=1e-6,5e-6"], 6, "accuracy"),
        (["learning_rate=1e-6,5e-6", "--grid", "seed=1,2,3"], 6, "loss"),
        (["--search", "pref_beta=0.01:0.5:log", "learning_rate=1e-7:1e-5:log", "lora_rank=8,16,32", "--trials", "20"],
         20, "accuracy"),
    ],
)  # fmt: skip
def test_the_lines_of_the_guide(
    words: list[str], trials: int, by: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    make = begin.make_sweep
    monkeypatch.setattr(begin, "make_sweep", lambda *given: found.append(make(*given)) or found[-1])
    assert run("sweep", "--sft-ckpt", SFT, *words, "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["trials"] == trials
    assert found[0].sweep.objective.by == by


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nothing says what is to be swept"),
        (["--grid", "seed=1,2", "--search", "lora_rank=1:2"], "two ways"),
        (["--grid", "seed=1,2", "--trials", "3"], "--trials is the number of a search"),
        (["--resume", "x", "--grid", "seed=1,2"], "--resume continues"),
        (["--resume", "x"], "there is no sweep x"),
        (["--resume", "x", "--dry-run"], "--resume continues"),  # it would train
        (["--resume", "x", "--no-prune"], "--resume continues"),
        (["--grid", "seed=1,2", "--seed", "3"], "--seed is of what a search draws"),
        (["--grid", "seed=1,2", "--plan-for", "4xA6000"], "--plan-for"),
        (["--grid", "seed=1,2", "--slurm", "gpus=1", "--gpus-per-trial", "all"], "of this host's GPUs"),
        (["--grid", "trust_remote_code=true,false"], "whose code to run"),
        (["--resume", "x", "--dataset", "polite"], "--dataset"),
        (["--grid", "seed=1,2", "--gpus-per-trial", "2"], "one GPU a trial, or all"),
        (["--grid", "seed=1,2", "--name", "../x"], "cannot be the name of a sweep"),
        (["--grid", "seed=1，2"], "full-width"),
        (["--grid", "seed=1,2", "--slurm", "partitio=gpu"], "partition"),
        (["--grid", "seed=1,2", "--slurm", "gpus=1", "--launcher", "ray"], "two ways"),
        (["--grid", "seed=1,2", "--launcher", "dask"], "not known"),
    ],
)
def test_slips_are_said_in_two_lines(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sweep", *words) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert says in first and second.startswith("  fix: ")


def test_without_optuna(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlguide.sweeps.study.find_spec", lambda name: None)
    assert run(*GRID) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "Optuna" in first and "install" in second and "rlguide[sweep]" in second


def test_the_same_command_again_goes_on_and_another_is_refused(
    ws: Workspace,
    capsys: pytest.CaptureFixture[str],
    stand_in: Callable[..., Path],
) -> None:
    assert run(*GRID, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert [trial["state"] for trial in first["trials"]] == ["finished", "finished"]
    assert first["winner"]["run"] == f"saves/sweeps/{NAME}/trial-001"
    steps = {path: path.read_text() for path in ws.saves.glob("sweeps/*/*/steps.jsonl")}
    for again in (GRID, ("sweep", "--resume", NAME, "--no-eval")):
        assert run(*again, "--json") == 0
        assert json.loads(capsys.readouterr().out) == first
    assert steps == {path: path.read_text() for path in steps}
    assert run(*GRID, "--set", "seed=2") == 2
    assert "other options" in capsys.readouterr().err
    assert run("sweep", "--resume", NAME, "--no-eval") == 0
    shown = capsys.readouterr()
    assert "1 " in shown.out and "winner     trial 1" in shown.out
    assert shown.err.splitlines()[-1].startswith(f"next: rlguide report saves/sweeps/{NAME}/trial-001")


def test_a_trial_is_started_with_what_was_asked_for(
    ws: Workspace,
    stand_in: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rlguide.sweeps import process

    words: list[tuple[str, ...]] = []
    make = process.rlguide_command
    monkeypatch.setattr(process, "rlguide_command", lambda *given: words.append(given) or make(*given))
    assert run(*GRID, "--set", "lora_rank=16") == 0
    assert shlex.join(words[0]) == (
        f"train --sft-ckpt {SFT} --dataset polite --set lora_rank=16 --set save_total_limit=1"
        f" --set learning_rate=1.0e-6 -o saves/sweeps/{NAME}/trial-000 -w '{ws.root}'"
    )


@pytest.mark.parametrize(("key", "value"), [("logging_dir", "/tmp/elsewhere"), ("trust_remote_code", "true")])
def test_what_a_record_may_not_decide_is_said_again(
    key: str,
    value: str,
    ws: Workspace,
    capsys: pytest.CaptureFixture[str],
    stand_in: Callable[..., Path],
) -> None:
    """A sweep of somebody else's may say where to write, and send away; who resumes it says so, too."""
    assert run(*GRID, "--set", f"{key}={value}") == 0
    assert run("sweep", "--resume", NAME) == 2
    first, second = capsys.readouterr().err.splitlines()[-2:]
    assert f"which only you can: {key}" in first
    pasted = second.removeprefix("  fix: `").removesuffix("`")
    assert run(*shlex.split(pasted)[1:], "--no-eval") == 0
    assert run("sweep", "--resume", NAME, "--set", "seed=3") == 2


def test_trials_that_another_sweep_runs_are_left_alone(
    ws: Workspace,
    capsys: pytest.CaptureFixture[str],
    stand_in: Callable[..., Path],
) -> None:
    from rlguide.locks import locked

    with locked(ws.saves / "sweeps" / NAME / "sweep.json"):
        assert run(*GRID) == 2
    assert "another rlguide works on the sweep" in capsys.readouterr().err


def test_a_dry_run_says_time_and_energy_by_the_plan(
    ws: Workspace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(ws.root.parent))
    monkeypatch.setattr(plan, "simulate", lambda engine, cases, is_enough: [step_of(case) for case in cases])
    words = (*GRID, "num_train_epochs=1,2", "--dry-run", "--plan-for", "2xA6000", "--json")
    assert run(*words) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["trials"], found["at_once"], found["planned"]) == (4, 2, 4)
    assert run(*words, "--parallel", "1") == 0
    alone = json.loads(capsys.readouterr().out)
    assert alone["seconds"]["mid"] == pytest.approx(2 * found["seconds"]["mid"])
    assert alone["gpu_seconds"] == pytest.approx(found["gpu_seconds"]) == pytest.approx(alone["seconds"]["mid"])
    watts = parse_gpus("1xA6000").model.watts
    assert watts and found["kilowatt_hours"] == pytest.approx(found["gpu_seconds"] * watts / 3.6e6)
    assert not (ws.saves / "sweeps").exists()


def test_a_dry_run_plans_for_the_gpus_of_a_job(
    ws: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(ws.root.parent))
    monkeypatch.setattr(plan, "simulate", lambda engine, cases, is_enough: [step_of(case) for case in cases])
    words = ("sweep", "--sft-ckpt", SFT, "--grid", "learning_rate=1e-6,2e-6,3e-6,4e-6,5e-6", "--dry-run", "--json")
    assert run(*words, "--slurm", "gpus=a100:1") == 0
    job = json.loads(capsys.readouterr().out)
    assert run(*words, "--plan-for", "1xA100") == 0
    one = json.loads(capsys.readouterr().out)
    assert (job["at_once"], one["at_once"]) == (4, 1)
    assert job["gpu_seconds"] == pytest.approx(one["gpu_seconds"]) == pytest.approx(one["seconds"]["mid"])
    # The fifth trial begins when one of four has ended: two rounds, not one and a quarter.
    assert job["seconds"]["mid"] == pytest.approx(one["seconds"]["mid"] * 2 / 5)


SMI = '#!/bin/sh\nfor i in 0 1 2; do echo "$i, NVIDIA RTX A6000, 49140, 48600, 8.6"; done\n'
FOUR = ("sweep", "--sft-ckpt", SFT, "--no-eval", "--no-prune", "--grid", "learning_rate=1,2,3,4")


@pytest.mark.parametrize(
    ("visible", "words", "slots"),
    [
        (None, (), ["0", "1", "2"]),
        ("0,2", (), ["0", "2"]),
        ("GPU-5f1c-aa,MIG-77/1", (), ["GPU-5f1c-aa", "MIG-77/1"]),  # not the GPUs that this hides
        (None, ("--parallel", "2"), ["0", "1"]),
        ("2,0", ("--parallel", "3"), ["2", "0", "2"]),
        ("0,2", ("--gpus-per-trial", "all"), ["0,2"]),
        (None, ("--gpus-per-trial", "all"), [None]),
        ("0,1", ("--gpus-per-trial", "all", "--parallel", "2"), ["0,1", "0,1"]),
    ],
)
def test_each_trial_sees_the_gpus_that_it_has(
    visible: str | None,
    words: tuple[str, ...],
    slots: list[str | None],
    ws: Workspace,
    stand_in: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the environment that its `train` is started with."""
    tool = ws.root / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(SMI)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tool.parent), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    stand_in(steps=2, pause=0.3)
    assert run(*FOUR, *words) == 0
    trials = []
    for path in sorted(ws.saves.glob("sweeps/*/*/steps.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert len({row["gpus"] for row in rows}) == 1
        trials.append((rows[0]["gpus"], rows[0]["time"], rows[-1]["time"]))
    assert len(trials) == 4
    assert [gpus for gpus, _, _ in trials[: len(slots)]] == slots
    assert {gpus for gpus, _, _ in trials} == set(slots)
    for gpus, begun, _ in trials:  # no more on a GPU at a time than it has slots
        assert sum(other == gpus and first <= begun <= last for other, first, last in trials) <= slots.count(gpus)


def test_the_number_of_a_search_may_grow(
    ws: Workspace,
    capsys: pytest.CaptureFixture[str],
    stand_in: Callable[..., Path],
) -> None:
    words = ("sweep", "--sft-ckpt", SFT, "--search", "learning_rate=1e-7:1e-5:log", "--no-eval", "--name", "快 one")
    assert run(*words, "--trials", "2", "--json") == 0
    two = json.loads(capsys.readouterr().out)["trials"]
    assert run(*words, "--trials", "3", "--json") == 0
    three = json.loads(capsys.readouterr().out)["trials"]
    assert len(three) == 3 and three[:2] == two
    sweep = read_sweep(ws.saves / "sweeps/快 one")
    assert sweep.trials == 3 and replace(sweep, trials=2).same_as(sweep)


def test_trials_on_ray_are_trainings_on_ray(
    ws: Workspace,
    stand_in: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rlguide.sweeps import process

    words: list[tuple[str, ...]] = []
    make = process.rlguide_command
    monkeypatch.setattr(process, "rlguide_command", lambda *given: words.append(given) or make(*given))
    assert run(*GRID, "--launcher", "ray", "--ray-address", "127.0.0.1:6379") == 0
    assert " --launcher ray --ray-address 127.0.0.1:6379 " in shlex.join(words[0])
    capsys.readouterr()
    assert run("sweep", "--resume", NAME) == 2  # its record does not decide to whom it connects
    assert "--resume dpo-learning_rate --launcher ray --ray-address 127.0.0.1:6379`" in capsys.readouterr().err
