"""Training in jobs of a real Slurm on this machine, which the test starts and ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rlguide.launchers.slurm import parse_spec, submit_array
from tests.e2e.conftest import SECRETS, SFT, Bench, settings
from tests.e2e.runs import recorded, wait_until, weights
from tests.e2e.slurm_cluster import Cluster, cluster, why_none

pytestmark = [pytest.mark.engine, pytest.mark.skipif(bool(why_none()), reason=why_none())]

RUN = "saves/tiny/lora/在 slurm"
START = ("train", "--sft-ckpt", SFT, "--dataset", "polite", "-o", RUN)


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


@pytest.fixture
def closed(slurm: Cluster) -> Iterator[Cluster]:
    """The cluster, with a partition that starts no job."""
    slurm.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
    yield slurm
    slurm.ask("scontrol", "update", "PartitionName=main", "State=UP")


def rows(bench: Bench, slurm: Cluster) -> dict[str, dict[str, Any]]:
    """What `rlguide runs` says, by name."""
    return {row["name"]: row for row in json.loads(bench.run("runs", "--json", env=slurm.variables).stdout)}


def job_log(bench: Bench) -> str:
    """What the job's own rlguide has printed so far."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted((bench.root / RUN).glob("slurm-*.log")))


def submit(bench: Bench, slurm: Cluster, spec: str, *others: str, shell: Mapping[str, str] | None = None) -> str:
    """Submit a run, with these variables of the shell; returns the id of its job."""
    options = ("--slurm", spec, *settings(*others), "--json")
    said = json.loads(bench.run(*START, *options, env={**slurm.variables, **SECRETS, **(shell or {})}).stdout)
    assert said["run"] == RUN
    return str(said["job"])


def test_at_its_time_limit_it_is_saved_requeued_and_ends_as_if_nothing_had_been(
    bench: Bench, trained: Bench, slurm: Cluster
) -> None:
    # Slurm looks at time limits every 30 s. The engine is halted until it has seen that this one is near.
    job = submit(bench, slurm, "partition=main,time=3,signal=145,comment=长 run")
    wait_until(lambda: recorded(bench, RUN, "status") == "running", seconds=60)
    engine = int(recorded(bench, RUN, "pid"))
    os.killpg(engine, signal.SIGSTOP)
    row = rows(bench, slurm)[RUN]
    assert (row["state"], row["job"], row["where"]) == ("running", job, f"is Slurm job {job} on n1")
    wait_until(lambda: "the time limit is near: saving after this step" in job_log(bench), seconds=90)
    os.killpg(engine, signal.SIGCONT)
    wait_until(lambda: "back in the queue" in job_log(bench), seconds=120)
    wait_until(lambda: slurm.state(job) == "PENDING", seconds=30)
    slurm.ask("scontrol", "update", f"JobId={job}", "TimeLimit=60", "StartTime=now")  # else two minutes later
    assert f"job {job} is back in the queue: it goes on from step 1" in job_log(bench)
    wait_until(lambda: recorded(bench, RUN, "status") == "finished", seconds=180)
    wait_until(lambda: slurm.state(job) == "COMPLETED", seconds=20)
    assert "Restarts=1 " in slurm.jobs(job)
    assert "resuming from step 1 of 6" in job_log(bench)
    assert weights(bench, RUN) == weights(trained, "saves/tiny/lora/dpo")
    # Neither the script nor anything else in the run's folder holds a secret, and the script is that of the dry run.
    script = (bench.root / RUN / "job.sbatch").read_text(encoding="utf-8")
    texts = [path.read_bytes() for path in (bench.root / RUN).rglob("*") if path.is_file()]
    assert not [secret for secret in SECRETS.values() for text in texts if secret.encode() in text]
    options = ("--slurm", "partition=main,time=3,signal=145,comment=长 run", *settings("overwrite_output_dir=true"))
    assert bench.run(*START, *options, "--dry-run").stdout == script


def test_two_nodes_train_together_until_they_are_stopped(bench: Bench, slurm: Cluster) -> None:
    # Whatever the site has: srun's tasks get the environment of the job, and none of the shell's options are the job's.
    shell = {"SBATCH_EXPORT": "NONE", "SBATCH_TIMELIMIT": "1", "SQUEUE_PARTITION": "other"}
    others = ("gradient_accumulation_steps=1", "max_steps=3000", "save_steps=2500", "eval_steps=2500")
    job = submit(bench, slurm, "partition=main,nodes=2,time=10", *others, shell=shell)
    events = bench.root / RUN / "metrics.jsonl"
    wait_until(lambda: events.exists() and events.read_text().count("\n") > 1, seconds=240)
    assert json.loads(events.read_text().splitlines()[0])["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert recorded(bench, RUN, "processes") == 2
    assert "2 were planned" not in job_log(bench)  # which is said where fewer train
    assert "NodeList=n[1-2]" in slurm.jobs(job) and "TimeLimit=00:10:00" in slurm.jobs(job)
    stopped = json.loads(bench.run("stop", RUN, "--json", env={**slurm.variables, **shell}).stdout)
    logged = [json.loads(line)["step"] for line in events.read_text().splitlines()]
    assert stopped["status"] == "interrupted" and stopped["checkpoint"] == max(logged) < 2500
    wait_until(lambda: slurm.state(job) in ("CANCELLED", "FAILED"), seconds=20)
    assert "Restarts=0 " in slurm.jobs(job)


def test_while_it_waits_nothing_else_takes_it(bench: Bench, closed: Cluster) -> None:
    done = bench.run(*START, "--slurm", "partition=main,time=5", *settings(), env=closed.variables)
    commands = [shlex.split(part)[1:] for part in re.findall(r"rlguide [^\n]+?(?=    then: |\n)", done.stderr)]
    assert [command[0] for command in commands] == ["watch", "runs", "stop"]
    (job,) = re.findall(r"Slurm job (\d+)", done.stdout)
    row = rows(bench, closed)[RUN]
    assert (row["state"], row["job"]) == ("queued", job)
    assert row["where"] == f"waits in Slurm's queue as job {job} (PartitionDown)"
    for refused in (("train", "--resume", RUN), (*START, *settings()), ("runs", "remove", RUN, "--yes")):
        said = bench.run(*refused, code=2, env=closed.variables).stderr
        assert f"rlguide stop '{RUN}'" in said, said
    watched = json.loads(bench.run(*commands[0], "--json", env=closed.variables).stdout)
    assert watched["status"] == "queued" and any("PartitionDown" in note for note in watched["notes"])
    # Where Slurm does not answer, that is said, and the list is whole all the same.
    away = {"SLURM_CONF": str(closed.folder / "none.conf")}
    listed = {row["name"]: row for row in json.loads(bench.run("runs", "--json", env=away).stdout)}
    assert listed[RUN]["state"] == "unknown" and "did not answer" in listed[RUN]["where"]
    bench.run("train", "--resume", RUN, code=2, env=away)
    stopped = json.loads(bench.run(*commands[2], "--json", env=closed.variables).stdout)
    assert stopped["status"] == "interrupted"
    assert closed.state(job) == "CANCELLED"
    # What it says then submits it again.
    again = bench.run(*shlex.split(stopped["resume"])[1:], "--json", env=closed.variables)
    submitted = json.loads(again.stdout)
    assert submitted["job"] != job and submitted["status"] == "queued"
    closed.ask("scancel", submitted["job"])
    found = rows(bench, closed)[RUN]
    assert found["state"] == "interrupted" and f"its Slurm job {submitted['job']} was cancelled" in found["where"]


def test_what_fails_is_not_tried_again(bench: Bench, slurm: Cluster) -> None:
    slurm.ask("scontrol", "update", "PartitionName=main", "State=DOWN")
    job = submit(bench, slurm, "partition=main,time=5")
    (bench.root / "data/polite.parquet").unlink()
    slurm.ask("scontrol", "update", "PartitionName=main", "State=UP")
    wait_until(lambda: slurm.state(job) == "FAILED", seconds=60)
    assert "Restarts=0 " in slurm.jobs(job) and "fix: " in job_log(bench)
    row = rows(bench, slurm)[RUN]
    assert row["state"] == "died" and row["where"] == f"before its first step: its Slurm job {job} ended as FAILED"


def test_what_slurm_refuses_is_said_in_two_lines(bench: Bench, slurm: Cluster) -> None:
    done = bench.run(*START, "--slurm", "partition=nothing", *settings(), code=1, env=slurm.variables)
    what, fix = done.stderr.strip().splitlines()[-2:]
    assert what == "error: Slurm says: Batch job submission failed: Invalid partition name specified"
    assert fix.startswith("  fix: ")
    row = rows(bench, slurm)[RUN]
    assert row["state"] == "interrupted" and not row["job"]


def test_an_array_runs_each_command_in_its_place(slurm: Cluster, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.variables["SLURM_CONF"])
    folder = tmp_path / "扫 sweep"
    folder.mkdir()
    say = 'echo "$1 $SLURM_ARRAY_TASK_ID" >"out $SLURM_ARRAY_TASK_ID"; sleep 1'
    commands = [["bash", "-c", say, "-", f"trial '{place}' 试"] for place in range(3)]
    job = submit_array(folder, "扫 sweep", commands, parse_spec("time=1"), folder, 1)
    at_once = set()

    def is_over() -> bool:
        states = slurm.state(job).split()
        at_once.add(states.count("RUNNING"))
        return states.count("COMPLETED") == 3

    wait_until(is_over, seconds=60)
    assert max(at_once) == 1
    said = [(folder / f"out {place}").read_text(encoding="utf-8") for place in range(3)]
    assert said == [f"trial '{place}' 试 {place}\n" for place in range(3)]
