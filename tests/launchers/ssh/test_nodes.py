"""A training on two nodes, from its start to its end, whatever ends one of them; no ssh, and no engine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlguide.engine.find import Engine
from rlguide.engine.job import JobFailed
from rlguide.errors import RlguideError, UsageError
from rlguide.launchers.launch import SSH, Launch
from rlguide.launchers.ssh.asked import PRINT
from rlguide.launchers.ssh.printed import commands
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.prepare import prepare
from rlguide.runs.record import Run, open_run
from rlguide.runs.training.drive import train_command
from rlguide.runs.training.options import RunOptions
from rlguide.runs.training.train import resume, train
from rlguide.workspace import Workspace
from tests.launchers.ssh.conftest import Hosts
from tests.recipes.conftest import ENGINE

RUN = "saves/两 run"
STEPS = 15
LAUNCH = Launch(SSH, nodes=2, nproc=1, hosts=("one", "two"))
SECRET = "hf_throughStdinOnly"
SETTINGS = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "num_train_epochs": 3, "save_steps": 2}
ROOT = Path(__file__).resolve().parents[3]
SCRIPT = """
import json, sys
from dataclasses import replace
from pathlib import Path
from rlguide.launchers.launch import Launch
from rlguide.runs.record import open_run
from rlguide.runs.training.options import RunOptions
from rlguide.runs.training.train import resume
from rlguide.workspace import Workspace
from tests.recipes.conftest import ENGINE
ws, python, name = Workspace(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
resume(ws, replace(ENGINE, python=python), open_run(ws, name))
"""


@pytest.fixture(autouse=True)
def _surroundings(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    for name, value in LAUNCH.variables.items():  # as `rlguide launch` has them in effect
        monkeypatch.setenv(name, value)


def begun(ws: Workspace, engine: Engine, launch: Launch = LAUNCH, auto_retry: bool = False) -> Run:
    prepared = prepare(ws, ENGINE, TrainingOptions(output_dir=RUN, settings={**SETTINGS, "cutoff_len": 1024}))
    return train(ws, engine, replace(prepared, engine=engine), RunOptions(launch=launch, auto_retry=auto_retry))


def fails(how: str, at: int) -> None:
    plan = {"rows": 40, "fail": [{"above": 0, "at": at, "how": how}]}
    Path(os.environ["FAKE_TRAINER"]).write_text(json.dumps(plan))


def heals() -> None:
    Path(os.environ["FAKE_TRAINER"]).write_text(json.dumps({"rows": 40, "fail": []}))


def steps(ws: Workspace) -> list[int]:
    """Those that were trained, each as often as it was."""
    lines = (ws.root / RUN / "trained.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running(ws: Workspace) -> list[int]:
    """The processes that train in this workspace, on whatever host."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes()
        except OSError:
            continue
        if str(ws.root).encode() in words and b"pytest" not in words:
            found.append(int(process.parent.name))
    return found


def test_both_run_to_their_end(ws: Workspace, engine: Engine, hosts: Hosts) -> None:
    """The workspace may be somebody else's: no module of it is imported, whatever standard name it has."""
    for name in ("argparse", "rlguide", "signal", "hashlib"):
        (ws.root / f"{name}.py").write_text(f"raise SystemExit({name!r})")
    run = begun(ws, engine)
    assert run.status == "finished"
    assert open_run(ws, RUN).launch == LAUNCH
    assert set(steps(ws)) == set(range(1, max(steps(ws)) + 1))
    for name in LAUNCH.hosts:
        environment = (hosts.folder / f"env.{name}").read_text().splitlines()
        for wanted in (f"HF_TOKEN={SECRET}", "NNODES=2", "NPROC_PER_NODE=1", "RLGUIDE_NODE_ADDRESS=127.0.0.1"):
            assert wanted in environment
        assert not any(line.startswith(("PYTHONPATH=", "PYTEST")) for line in environment)
        assert (run.path / "logs" / f"{name}.log").exists()
    assert SECRET not in json.dumps(hosts.commands)
    for path in ws.root.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_a_lost_node_ends_the_other_and_is_resumed(ws: Workspace, engine: Engine, hosts: Hosts) -> None:
    fails("wait", 5)
    hosts.tell("two", lost=2)
    with pytest.raises(JobFailed) as found:
        begun(ws, engine)
    assert found.value.what.startswith("a node of the training is gone: NodeLost: two: Connection to it closed")
    assert f"rlguide train --resume {shlex.quote(RUN)}" in found.value.fix
    wait(lambda: not running(ws))
    run = open_run(ws, RUN)
    assert run.status == "failed"
    assert resume(ws, engine, run).status == "finished"
    assert open_run(ws, RUN).launch == LAUNCH
    assert steps(ws)[:5] == [1, 2, 3, 4, 5]
    assert steps(ws)[5] == 5  # from the checkpoint at step 4


def test_a_lost_node_is_waited_for(
    ws: Workspace, engine: Engine, hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    fails("wait", 5)
    hosts.tell("two", lost=2)
    run = begun(ws, engine, replace(LAUNCH, max_restarts=1))
    assert (run.status, run.record.failure) == ("finished", None)
    assert steps(ws)[:6] == [1, 2, 3, 4, 5, 5]
    said = capsys.readouterr().err
    assert "restarting from the last checkpoint when all nodes answer" in said
    assert "resuming from step 4" in said


def test_restarts_are_counted_and_the_first_failure_is_said(ws: Workspace, engine: Engine, hosts: Hosts) -> None:
    """A training that fails by itself, too; its exception is what is said, not the end of the other node."""
    fails("other", 5)
    with pytest.raises(JobFailed, match="ValueError: something else") as found:
        begun(ws, engine, replace(LAUNCH, max_restarts=1))
    assert found.value.returncode == 1
    assert [steps(ws).count(step) for step in (4, 5)] == [1, 2]
    log = (ws.root / RUN / "engine.log").read_text()
    assert log.count("one ended first, with exit code 1") == 2


def test_memory_that_runs_out_is_no_matter_of_nodes(ws: Workspace, engine: Engine) -> None:
    fails("gpu", 5)
    with pytest.raises(JobFailed, match="the GPU ran out of memory"):
        begun(ws, engine, replace(LAUNCH, max_restarts=2))
    assert steps(ws).count(5) == 1


def test_with_less_memory_all_nodes_go_on(ws: Workspace, engine: Engine) -> None:
    plan = {"rows": 40, "fail": [{"above": 2, "at": 5, "how": "gpu"}]}
    Path(os.environ["FAKE_TRAINER"]).write_text(json.dumps(plan))
    run = begun(ws, engine, auto_retry=True)
    assert (run.status, run.config["per_device_train_batch_size"]) == ("finished", 2)
    assert steps(ws).count(5) == 2
    assert (run.path / "engine.log").read_text().count("ended first") == 1


@pytest.mark.parametrize("how", ["interrupt", "kill"])
def test_nothing_is_left_running(ws: Workspace, engine: Engine, hosts: Hosts, how: str) -> None:
    """After Ctrl-C, and kill -9 of the process that holds the connections. It can be resumed, on other hosts too."""
    fails("other", 3)
    with pytest.raises(JobFailed):
        begun(ws, engine)
    fails("wait", 5)
    command = [sys.executable, "-c", SCRIPT, str(ws.root), str(engine.python), RUN]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    wait(lambda: (ws.root / RUN / "waits").exists() or process.poll() is not None)
    run = open_run(ws, RUN)
    assert run.status == "running"
    assert run.record.pid is not None
    if how == "interrupt":
        process.send_signal(signal.SIGINT)
    else:
        os.kill(run.record.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    wait(lambda: not running(ws))
    run = open_run(ws, RUN)
    assert run.status == ("interrupted" if how == "interrupt" else "failed")
    if how == "interrupt":
        assert f"Resume with: rlguide train --resume {shlex.quote(RUN)}" in err
    heals()
    hosts.tell("two", refused="No route to host")
    with pytest.raises(RlguideError, match="four cannot be reached"):
        hosts.tell("four", refused="No route to host")
        resume(ws, engine, run, RunOptions(launch=replace(LAUNCH, hosts=("one", "four"))))
    assert open_run(ws, RUN).launch == LAUNCH
    elsewhere = replace(LAUNCH, hosts=("one", "three"))
    assert resume(ws, engine, run, RunOptions(launch=elsewhere)).status == "finished"
    assert open_run(ws, RUN).launch.hosts == ("one", "three")


def test_a_record_of_somebody_else_names_no_hosts(ws: Workspace, engine: Engine, hosts: Hosts) -> None:
    """Hosts are given keys, and a config of ssh can run anything: what is resumed there was launched there."""
    fails("other", 3)
    with pytest.raises(JobFailed):
        begun(ws, engine)
    heals()
    run, asked = open_run(ws, RUN), len(hosts.commands)
    own = run.record.launch
    for changed in ({"hosts": ["theirs", "$(touch x)"]}, {"settings": {"ssh_config": "theirs"}}):
        run.update(launch={**(own or {}), **changed})
        with pytest.raises(UsageError, match="you have not launched it there") as found:
            resume(ws, engine, run)
        words = shlex.split(found.value.fix.partition("`")[2].rstrip("`"))
        assert words[2:4] == ["--nodes", ",".join(run.launch.hosts)]
        assert words[-2:] == ["--resume", RUN]
    assert len(hosts.commands) == asked
    run.update(launch=own)
    assert resume(ws, engine, run).status == "finished"


def test_other_hosts_have_as_many_processes(ws: Workspace, engine: Engine) -> None:
    fails("other", 3)
    with pytest.raises(JobFailed):
        begun(ws, engine)
    fewer = replace(LAUNCH, nodes=1, hosts=("one",))
    with pytest.raises(UsageError, match="began on 2 processes"):
        resume(ws, engine, open_run(ws, RUN), RunOptions(launch=fewer))


def test_a_node_that_does_not_answer_changes_nothing(ws: Workspace, engine: Engine, hosts: Hosts) -> None:
    hosts.tell("two", refused="No route to host")
    with pytest.raises(RlguideError, match="two cannot be reached"):
        begun(ws, engine)
    assert list((ws.root / RUN).iterdir()) == []


def test_the_printed_commands_train(ws: Workspace, engine: Engine, hosts: Hosts) -> None:
    """Pasted into a shell, with paths of two scripts and a space, they do it; the config comes from rlguide itself."""
    prepared = prepare(ws, ENGINE, TrainingOptions(output_dir=RUN, settings={**SETTINGS, "cutoff_len": 1024}))
    (hosts.folder / "config").write_text(prepared.text)
    rlguide = hosts.folder / "bin" / "rlguide"
    rlguide.write_text(
        '#!/bin/sh\nenv > "$STAND_IN/env.rlguide"\necho "$@" > "$STAND_IN/asked"\ncat "$STAND_IN/config"\n'
    )
    rlguide.chmod(0o755)
    folder = ws.root / RUN
    launch = replace(LAUNCH, settings={PRINT: ["train", "-o", RUN, "--dry-run"]})
    lines = list(commands(launch, train_command(ws, engine, folder, False), folder))
    assert SECRET not in "".join(lines)
    subprocess.run(["bash", "-e", "-c", "\n".join(lines)], check=True, timeout=60)
    assert (folder / "train_results.json").exists()
    assert (hosts.folder / "asked").read_text() == f"train -o {RUN} --dry-run\n"
    assert "NNODES=2" in (hosts.folder / "env.rlguide").read_text().splitlines()
    told: dict[str, Any] = dict(
        line.partition("=")[::2] for line in (hosts.folder / "env.two").read_text().splitlines()
    )
    assert (told["MASTER_ADDR"], told["RLGUIDE_NODE_ADDRESS"]) == ("address-of-one", "address-of-two")
