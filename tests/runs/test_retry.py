"""Out-of-memory is survived: what a run goes on with, what it keeps, and where it ends."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from rlguide.engine.find import Engine
from rlguide.engine.job import JobFailed
from rlguide.errors import EngineError, UsageError
from rlguide.launchers.launch import Launch
from rlguide.planner.learnt import Outcome, known_outcomes
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.prepare import prepare
from rlguide.runs.record import Run, open_run
from rlguide.runs.report import report, report_lines
from rlguide.runs.training.options import RunOptions
from rlguide.runs.training.train import resume, train
from rlguide.workspace import Workspace
from tests.cli.command import run as rlguide
from tests.recipes.conftest import ENGINE, ws  # noqa: F401

RUN = "saves/run"
ROWS, EPOCHS, BATCH, SAVE = 40, 3, 8, 2
STEPS = ROWS // BATCH * EPOCHS
FAKE = Path(__file__).with_name("fake_trainer.py")
SETTINGS = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "num_train_epochs": EPOCHS,
    "save_steps": SAVE,
    "cutoff_len": 1024,
}


def asked(path: Path, fail: list[dict[str, Any]], **others: Any) -> None:
    path.write_text(json.dumps({"rows": ROWS, "fail": fail, **others}))


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it stands how the fake trainer fails."""
    path = tmp_path / "plan.json"
    monkeypatch.setenv("FAKE_TRAINER", str(path))
    for name in ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    asked(path, [])
    return path


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An engine whose Python is the fake trainer."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(FAKE))} "$@"\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return replace(ENGINE, python=python)


def begun(ws: Workspace, engine: Engine, **settings: Any) -> Any:  # noqa: F811
    options = TrainingOptions(output_dir=RUN, settings={**SETTINGS, **settings})
    return replace(prepare(ws, ENGINE, options), engine=engine)


def started(ws: Workspace, engine: Engine, auto_retry: bool = True, **settings: Any) -> Run:  # noqa: F811
    return train(ws, engine, begun(ws, engine, **settings), options=RunOptions(auto_retry=auto_retry))


def trained(ws: Workspace) -> list[dict[str, Any]]:  # noqa: F811
    """The steps that were trained, the last time each."""
    lines = (ws.root / RUN / "trained.jsonl").read_text().splitlines()
    steps = {row["step"]: row for row in map(json.loads, lines)}
    return [steps[step] for step in sorted(steps)]


def assert_all_rows_once_an_epoch(steps: list[dict[str, Any]]) -> None:
    assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
    for epoch in range(EPOCHS):
        rows = Counter(row for step in steps if step["epoch"] == epoch for row in step["rows"])
        assert rows == Counter(range(ROWS))


@pytest.mark.parametrize("how", ["gpu", "main", "kill"])
@pytest.mark.parametrize("at", [0, 3, 4, 5, 12])
def test_it_goes_on_with_smaller_micro_batches_and_the_same_rows(
    ws: Workspace,  # noqa: F811
    engine: Engine,
    plan: Path,
    how: str,
    at: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Before the first checkpoint, at one, in the middle of an epoch, at its end, in the last one."""
    asked(plan, [{"above": 2, "at": at, "how": how}])
    run = started(ws, engine)
    steps = trained(ws)
    assert_all_rows_once_an_epoch(steps)
    resumed = at // SAVE * SAVE
    assert [row["batch"] for row in steps] == [4] * resumed + [2] * (STEPS - resumed)
    assert all(len(row["rows"]) == BATCH for row in steps)
    said = capsys.readouterr().err
    assert "continuing with less memory: micro-batch 4 -> 2, accumulation 2 -> 4" in said
    assert ("training starts from the beginning" in said) == (resumed == 0)
    assert "warning" not in said
    record = open_run(ws, RUN).record
    assert (run.status, record.status, record.failure) == ("finished", "finished", None)
    assert record.effective_batch == BATCH
    assert (run.config["per_device_train_batch_size"], run.config["gradient_accumulation_steps"]) == (2, 4)
    assert record.attempts is not None
    (attempt,) = record.attempts
    assert attempt["before"] == {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    assert attempt["failure"]["memory"] == ("gpu" if how == "gpu" else "main")
    assert attempt["failure"]["step"] == at
    rows = [json.loads(line)["step"] for line in (ws.root / RUN / "metrics.jsonl").read_text().splitlines()]
    assert rows == list(range(1, STEPS + 1))
    line = "ran out of memory once, and continued with: micro-batch 4 -> 2, accumulation 2 -> 4"
    assert line in report_lines(report(run))
    assert f"# It {line}." in (ws.root / RUN / "config.yaml").read_text()


def test_figures_of_the_failure_are_kept(ws: Workspace, engine: Engine, plan: Path) -> None:  # noqa: F811
    """With them the plan learns; exact ones of the process before those that the message rounds."""
    told = {"allocated": 44 * 2**30 + 7, "peak": 45 * 2**30, "total": 51, "device": "NVIDIA RTX A6000"}
    asked(plan, [{"above": 2, "at": 3, "how": "gpu"}], memory=told)
    failure = (started(ws, engine).record.attempts or ())[-1]["failure"]
    figures = {"tried": 2 << 30, "free": 1 << 30, "unallocated": 1 << 29}
    assert failure["figures"] == {**figures, **{name: told[name] for name in ("allocated", "peak", "total")}}
    assert failure["device"] == "NVIDIA RTX A6000"


def test_each_step_of_the_ladder_once_then_two_lines(
    ws: Workspace,  # noqa: F811
    engine: Engine,
    plan: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    memory = {"device": "NVIDIA RTX A6000", "allocated": 44 << 30, "unallocated": 3 << 30}
    asked(plan, [{"above": 0, "at": 3, "how": "gpu"}], memory=memory, lean=["reference", "checkpointing"])
    with pytest.raises(JobFailed) as failed:
        started(ws, engine)
    changes = [attempt["change"] for attempt in open_run(ws, RUN).record.attempts or ()]
    assert changes == [
        "CUDA memory in segments that can grow",
        "gradient checkpointing on",
        "micro-batch 4 -> 2, accumulation 2 -> 4",
        "micro-batch 2 -> 1, accumulation 4 -> 8",
    ]
    assert failed.value.what == "the GPU ran out of memory"
    assert "longer examples are cut" in failed.value.fix and f"log: {RUN}/engine.log" in failed.value.fix
    [command] = [part for part in failed.value.fix.split("`") if part.startswith("rlguide train")]
    words = shlex.split(command)
    assert words[2:6] == ["--config", f"{RUN}/config.yaml", "-o", f"{RUN}-smaller"]
    with pytest.raises(EngineError, match="no setting is left that needs less and learns the same"):
        resume(ws, engine, open_run(ws, RUN), options=RunOptions(auto_retry=True))
    # With the memory of the other setting the same run goes on, and the allocator and the option stay.
    asked(plan, [])
    assert resume(ws, engine, open_run(ws, RUN)).status == "finished"
    last = trained(ws)[-1]
    assert (last["options"], last["allocator"], last["batch"]) == (["--checkpointing"], "expandable_segments:True", 1)
    assert "3 times" not in capsys.readouterr().err


def test_what_is_pasted_trains_anew(ws: Workspace, engine: Engine, plan: Path) -> None:  # noqa: F811
    asked(plan, [{"above": 0, "at": 3, "how": "gpu"}])
    with pytest.raises(JobFailed) as failed:
        started(ws, engine, per_device_train_batch_size=1)
    assert open_run(ws, RUN).record.attempts is None
    [command] = [part for part in failed.value.fix.split("`") if part.startswith("rlguide train")]
    config, _, folder, *settings = shlex.split(command)[3:]
    values = dict(item.split("=") for item in settings[1::2])
    options = TrainingOptions(
        config=ws.root / config,
        output_dir=folder,
        settings={key: None if value == "null" else int(value) for key, value in values.items()},
    )
    asked(plan, [])
    run = train(ws, engine, replace(prepare(ws, ENGINE, options), engine=engine))
    assert (run.status, run.config["cutoff_len"]) == ("finished", 512)


def test_gpus_that_can_share_more_are_told_so(
    ws: Workspace,  # noqa: F811
    engine: Engine,
    plan: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before all that would change what is learnt; and it is shared by as many processes as before."""
    asked(plan, [{"above": 0, "at": 3, "how": "gpu"}])
    with pytest.raises(JobFailed) as failed:
        started(ws, engine, per_device_train_batch_size=1, use_cpu=False)
    assert "--sharing" not in failed.value.fix  # one process has nobody to share with
    open_run(ws, RUN).update(processes=2, launch={"launcher": "local", "nproc": 2})
    with pytest.raises(EngineError) as left:
        resume(ws, engine, open_run(ws, RUN), options=RunOptions(auto_retry=True))
    assert left.value.fix.startswith("start again with --sharing fsdp (FSDP2: ")
    assert "cutoff_len=512 (longer examples are cut)" in left.value.fix
    [command] = [part for part in left.value.fix.split("`") if part.startswith("rlguide train")]
    config, _, folder, *words = shlex.split(command)[3:]
    assert words == ["--nproc", "2", "--set", "resume_from_checkpoint=null", "--sharing", "fsdp"]
    for name, value in Launch(nproc=2).variables.items():
        monkeypatch.setenv(name, value)
    pasted = TrainingOptions(
        config=ws.root / config, output_dir=folder, settings={"resume_from_checkpoint": None}, sharing="fsdp"
    )
    assert prepare(ws, ENGINE, pasted).config["fsdp_config"]["version"] == 2


def test_without_the_option_the_fix_names_it_and_it_works(ws: Workspace, engine: Engine, plan: Path) -> None:  # noqa: F811
    asked(plan, [{"above": 2, "at": 5, "how": "gpu"}])
    with pytest.raises(JobFailed) as failed:
        started(ws, engine, auto_retry=False)
    assert failed.value.fix == (
        "continue with less memory (micro-batch 4 -> 2, accumulation 2 -> 4):"
        f" `rlguide train --resume {RUN} --auto-retry`; log: {RUN}/engine.log"
    )
    assert open_run(ws, RUN).next_step == f"resume it with less memory: `rlguide train --resume {RUN} --auto-retry`"
    with pytest.raises(JobFailed):  # without it, what ran out of memory is tried again as it was
        resume(ws, engine, open_run(ws, RUN))
    assert open_run(ws, RUN).record.attempts is None
    assert resume(ws, engine, open_run(ws, RUN), options=RunOptions(auto_retry=True)).status == "finished"
    assert_all_rows_once_an_epoch(trained(ws))


@pytest.mark.parametrize("during", ["start", "training"])
def test_nothing_else_is_tried_again(ws: Workspace, engine: Engine, plan: Path, during: str) -> None:  # noqa: F811
    asked(plan, [{"above": 0, "at": 0, "how": "other", "during": during}])
    with pytest.raises(JobFailed, match="something else"):
        started(ws, engine)
    record = open_run(ws, RUN).record
    assert (record.status, record.attempts) == ("failed", None)
    assert record.failure == {"what": "LLaMA-Factory failed with ValueError: something else", "exit_code": 1}


def test_a_model_that_does_not_fit_is_not_tried_again(ws: Workspace, engine: Engine, plan: Path) -> None:  # noqa: F811
    asked(plan, [{"above": 0, "at": 0, "how": "gpu", "during": "start"}])
    with pytest.raises(JobFailed, match="GPU ran out of memory"):
        started(ws, engine)
    assert not (ws.root / RUN / "trained.jsonl").exists()


def test_another_failure_on_the_way_ends_it(ws: Workspace, engine: Engine, plan: Path) -> None:  # noqa: F811
    asked(plan, [{"above": 2, "at": 3, "how": "gpu"}, {"above": 1, "at": 6, "how": "other"}])
    with pytest.raises(JobFailed, match="something else"):
        started(ws, engine)
    asked(plan, [])
    assert resume(ws, engine, open_run(ws, RUN)).status == "finished"
    assert_all_rows_once_an_epoch(trained(ws))


def test_a_checkpoint_without_its_optimizer_is_not_gone_on_from(ws: Workspace, engine: Engine, plan: Path) -> None:  # noqa: F811
    """Nor does anything in the record say that it was."""
    asked(plan, [{"above": 2, "at": 3, "how": "gpu"}], model_only=True)
    with pytest.raises(UsageError, match="no state of the optimizer"):
        started(ws, engine)
    record = open_run(ws, RUN).record
    assert (record.status, record.attempts) == ("failed", None)
    assert (ws.root / RUN / "checkpoint-2").is_dir()


def test_data_that_changed_meanwhile_is_refused(ws: Workspace, engine: Engine, plan: Path) -> None:  # noqa: F811
    asked(plan, [{"above": 2, "at": 3, "how": "gpu"}])
    with pytest.raises(JobFailed):
        started(ws, engine, auto_retry=False)
    rows = (ws.data / "polite.json").read_text()
    (ws.data / "polite.json").write_text(rows.replace("Yes", "No"))
    with pytest.raises(UsageError, match="is not the data"):
        resume(ws, engine, open_run(ws, RUN), options=RunOptions(auto_retry=True))
    assert open_run(ws, RUN).record.attempts is None


SCRIPT = """
import sys
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from rlguide.runs.record import open_run
from rlguide.runs.training.options import RunOptions
from rlguide.runs.training.train import resume
from rlguide.workspace import Workspace
from tests.cli.command import run as rlguide
from tests.recipes.conftest import ENGINE
ws, python, name = Workspace(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
resume(ws, replace(ENGINE, python=python), open_run(ws, name), options=RunOptions(auto_retry=True))
"""


def test_interrupted_after_a_retry_it_is_resumed_with_the_new_setting(
    ws: Workspace,  # noqa: F811
    engine: Engine,
    plan: Path,
) -> None:
    asked(plan, [{"above": 2, "at": 3, "how": "gpu"}])
    with pytest.raises(JobFailed):
        started(ws, engine, auto_retry=False)
    asked(plan, [{"above": 2, "at": 3, "how": "gpu"}, {"above": 1, "at": 7, "how": "wait"}])
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", SCRIPT, str(ws.root), str(engine.python), RUN]
    process = subprocess.Popen(command, env=environment, cwd=root, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (ws.root / RUN / "waits").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert f"Resume with: rlguide train --resume {RUN}" in err
    run = open_run(ws, RUN)
    assert (run.status, run.config["per_device_train_batch_size"]) == ("interrupted", 2)
    asked(plan, [{"above": 2, "at": 3, "how": "gpu"}])
    assert resume(ws, engine, run).status == "finished"
    steps = trained(ws)
    assert_all_rows_once_an_epoch(steps)
    assert [row["batch"] for row in steps] == [4] * 2 + [2] * (STEPS - 2)


def test_the_setting_of_a_config_of_deepspeed_stays(ws: Workspace, engine: Engine, plan: Path) -> None:  # noqa: F811
    asked(plan, [{"above": 2, "at": 3, "how": "gpu"}])
    with pytest.raises(JobFailed):
        started(ws, engine, auto_retry=False)
    run = open_run(ws, RUN)
    for value, is_free in ((4, False), ("auto", True)):
        (ws.root / "ds.json").write_text(json.dumps({"train_micro_batch_size_per_gpu": value}))
        run.update(config={**run.config, "deepspeed": "ds.json"})
        with pytest.raises(EngineError, match="no setting is left" if not is_free else "ran out"):
            asked(plan, [{"above": 0, "at": 3, "how": "gpu"}])
            resume(ws, engine, run, options=RunOptions(auto_retry=True))


@pytest.mark.parametrize("variables", [{"NNODES": "2"}, {"NNODES": "", "MIN_NNODES": "1"}])
def test_processes_of_other_nodes_are_not_left_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert rlguide("train", "--auto-retry", "-w", str(tmp_path)) == 2
    assert "this node only" in capsys.readouterr().err


@pytest.mark.parametrize(
    "where",
    ["train.check_data_unchanged", "train.same_processes", "restore.continue_with", "train.restore", "drive.run_job"],
)
def test_interrupted_between_two_attempts_nothing_is_lost(
    ws: Workspace,  # noqa: F811
    engine: Engine,
    plan: Path,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever was not done is done by the next command; what was, is not done twice."""
    asked(plan, [{"above": 2, "at": 3, "how": "gpu"}])
    run = begun(ws, engine)
    calls = []
    module, _, name = where.partition(".")
    real = getattr(import_module(f"rlguide.runs.training.{module}"), name)

    def interrupted(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        if len(calls) == (2 if name == "run_job" else 1):
            raise KeyboardInterrupt
        return real(*arguments, **named)

    monkeypatch.setattr(f"rlguide.runs.training.{where}", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(ws, engine, run, options=RunOptions(auto_retry=True))
    assert f"Resume with: rlguide train --resume {RUN}" in capsys.readouterr().err
    record = open_run(ws, RUN).record
    assert (record.status, bool(record.attempts)) == ("interrupted", name in ("restore", "run_job"))
    assert bool(record.failure) != bool(record.attempts)
    assert resume(ws, engine, open_run(ws, RUN), options=RunOptions(auto_retry=True)).status == "finished"
    assert len(open_run(ws, RUN).record.attempts or ()) == 1
    assert_all_rows_once_an_epoch(trained(ws))


def test_an_update_of_another_size_is_said(
    ws: Workspace,  # noqa: F811
    engine: Engine,
    plan: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As it is without the micro-batch in the checkpoint: transformers takes that, and the new accumulation."""
    monkeypatch.setattr("rlguide.runs.training.restore.set_micro_batch", lambda *_: None)
    asked(plan, [{"above": 2, "at": 3, "how": "gpu"}])
    with pytest.raises(JobFailed):
        started(ws, engine)
    assert "warning: 16 rows make an update, 8 were planned" in capsys.readouterr().err


@pytest.mark.parametrize("during", ["training", "evaluation"])
def test_the_next_plan_learns_of_the_failure_and_of_nothing_that_was_not_planned(
    ws: Workspace,  # noqa: F811
    engine: Engine,
    plan: Path,
    during: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the GPU had was not enough for what was planned; with another setting it is another training."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    memory = {"device": "NVIDIA RTX A6000", "total": 47 << 30, "allocated": 44 << 30, "unallocated": 0}
    fail = {"above": 2, "at": 3, "how": "gpu"}
    asked(plan, [fail], memory=memory, during=during)
    with pytest.raises(JobFailed):
        started(ws, engine, auto_retry=False, per_device_eval_batch_size=2)
    assert known_outcomes() == []  # it was not planned
    run = open_run(ws, RUN)
    planned = Outcome("any", "rtx-a6000", 1, "bf16", "dpo", planned_bytes=40 << 30)
    run.update(plan={"outcome": asdict(planned), "longest": [8, 9, 9], "flops": 1.0})
    with pytest.raises(JobFailed):
        resume(ws, engine, run)
    found = [(item.run, item.peak_bytes, item.planned_bytes, item.out_of_memory) for item in known_outcomes()]
    assert found == ([(run.record.id, 47 << 30, 40 << 30, True)] if during == "training" else [])
    asked(plan, [])
    assert resume(ws, engine, open_run(ws, RUN), options=RunOptions(auto_retry=True)).status == "finished"
    assert len(known_outcomes()) == len(found)
    record = open_run(ws, RUN).record
    assert len(record.attempts or ()) == 1
    assert record.plan == {"longest": [8, 9, 9], "flops": 1.0}


def test_one_that_was_asked_to_end_is_interrupted_whatever_its_launcher_ends_with(
    ws: Workspace,  # noqa: F811
    engine: Engine,
    plan: Path,
) -> None:
    """srun ends the other nodes when the first has ended, and its code is then that of a signal."""
    asked(plan, [{"above": 0, "at": 4, "how": "asked"}])
    with pytest.raises(KeyboardInterrupt):
        started(ws, engine)
    run = open_run(ws, RUN)
    assert run.status == "interrupted" and run.record.failure is None
    assert not (run.path / ".stop.json").exists()
