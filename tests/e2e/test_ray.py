"""Two workers of Ray on CPUs: they train what two processes of torchrun train, and none outlives the training."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlguide.engine.find import Engine
from rlguide.engine.worker import engine_environment
from tests.e2e.conftest import IN_TWO, SAME, SECRETS, SFT, Bench, settings
from tests.e2e.runs import recorded, wait_until, weights

pytestmark = pytest.mark.engine
MARK = "RLGUIDE_TEST_OF_RAY"
RUN = "saves/on ray"
COMMAND = ("train", "--sft-ckpt", SFT, "--dataset", "polite", *settings("eval_strategy=no", "max_steps=12"))
_LOOPBACK = re.compile(r"127\.\d+\.\d+\.\d+|\[::ffff:127\.\d+\.\d+\.\d+\]|\[::1\]")


def marked(mark: str) -> dict[int, str]:
    """The command line of each process that has the mark in its environment, by its id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found[int(path.name)] = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
    return {pid: words for pid, words in found.items() if words}  # a zombie has none


def listening(pids: set[int]) -> list[str]:
    """The addresses at which these processes listen."""
    shown = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in shown.splitlines() if pids & {int(pid) for pid in re.findall(r"pid=(\d+)", line)}]
    return [line.split()[3].rpartition(":")[0] for line in lines]


def logged(bench: Bench, run: str) -> list[dict[str, float]]:
    """What the worker of rank 0 has told of each step."""
    path = bench.root / run / "events.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line)["values"] for line in lines if '"event": "log"' in line]


@pytest.fixture(autouse=True)
def _needs(engine: Engine) -> None:
    if "ray" not in engine.versions:
        pytest.skip("Ray is not in the engine's environment")
    if shutil.which("ss") is None:
        pytest.skip("ss (iproute2) is not installed")


def test_a_cluster_of_its_own(two_bench: Bench) -> None:
    """Stopped by Ctrl-C and resumed it ends with the adapter of two processes under torchrun, byte for byte.

    No module of the workspace is run: it may be somebody else's.
    """
    bench = two_bench
    for name in ("torch", "yaml", "ray"):
        (bench.root / f"{name}.py").write_text("raise SystemExit(3)")
    mark = uuid.uuid4().hex
    env = {MARK: mark, "OMP_NUM_THREADS": "1", **SECRETS}
    process = bench.start(*SAME, "-o", RUN, "--launcher", "ray", "--nproc", "2", env=env)
    wait_until(lambda: len(logged(bench, RUN)) > 8, process)
    trainers = [pid for pid, words in marked(mark).items() if "ray::Trainer" in words]
    for pid in trainers:
        os.kill(pid, signal.SIGSTOP)  # to look at them takes longer than their steps
    assert len(trainers) == 2
    addresses = listening(set(marked(mark)))
    assert len(addresses) > 4
    assert all(_LOOPBACK.fullmatch(address) for address in addresses), addresses
    for pid in trainers:
        os.kill(pid, signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert marked(mark) == {}
    launch = {"launcher": "ray", "nproc": 2}
    assert {key: recorded(bench, RUN, "launch").get(key) for key in launch} == launch
    resumed = bench.run("train", "--resume", RUN, env=env)
    found = re.search(r"resuming from step (\d+) of 20\b", resumed.stderr)
    assert found and int(found[1]) < 20
    assert marked(mark) == {}
    first = next(row for row in bench.history(RUN) if "loss" in row)
    assert first["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert recorded(bench, RUN, "processes") == 2
    assert weights(bench, RUN) == weights(bench, IN_TWO)
    for path in (bench.root / RUN).rglob("*"):
        if path.is_file():
            assert not any(secret.encode() in path.read_bytes() for secret in SECRETS.values()), path


@pytest.fixture
def cluster(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a cluster with two CPUs, and the mark of its processes."""
    mark, ray = uuid.uuid4().hex, str(bench.engine.python.with_name("ray"))
    token = tmp_path_factory.mktemp("token")
    env = {**engine_environment(bench.engine), MARK: mark, "HOME": str(token), "RAY_USAGE_STATS_ENABLED": "0",
           "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}  # fmt: skip
    folder = Path("/tmp") / f"r{mark[:8]}"  # short: sockets lie in it
    start = [ray, "start", "--head", "--port=0", "--node-ip-address=127.0.0.1", "--num-cpus=2", "--num-gpus=0",
             "--include-dashboard=false", f"--temp-dir={folder}"]  # fmt: skip
    try:
        done = subprocess.run(start, env=env, cwd=token, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        found = re.search(r"--gcs-address=(\S+)", " ".join(marked(mark).values()))
        assert found, marked(mark)
        yield found[1], mark
    finally:
        for pid in marked(mark):
            os.kill(pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def test_a_cluster_that_runs(bench: Bench, cluster: tuple[str, str]) -> None:
    """Too few CPUs are said in two lines. A killed rlguide ends nothing, a killed driver all but the cluster."""
    address, mark = cluster
    env = {"RAY_AUTH_MODE": "disabled"}
    on = ("--ray-address", address, "-o", RUN, "--nproc")
    refused = bench.run(*COMMAND, *on, "3", env=env, code=1)
    assert f"3 workers need 3 x CPU: the Ray cluster {address} has 2" in refused.stderr
    assert "Traceback" not in refused.stderr
    process = bench.start(*COMMAND, *on, "2", *settings("max_steps=200"), env=env)
    wait_until(lambda: logged(bench, RUN), process)
    process.kill()
    process.communicate(timeout=60)
    before = len(logged(bench, RUN))
    wait_until(lambda: len(logged(bench, RUN)) > before + 1)
    (listed,) = [row for row in json.loads(bench.run("runs", "--json").stdout) if row["name"] == RUN]
    assert listed["state"].startswith("running")
    os.kill(recorded(bench, RUN, "pid"), signal.SIGKILL)
    wait_until(lambda: not any("ray::Trainer" in words for words in marked(mark).values()), seconds=60)
    assert any("raylet" in words for words in marked(mark).values())
    assert logged(bench, RUN)[0]["loss"] == pytest.approx(0.6931, abs=1e-4)
    assert recorded(bench, RUN, "launch")["settings"] == {"address": address}
