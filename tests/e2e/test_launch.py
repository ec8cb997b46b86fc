"""`rlguide launch` on two real hosts: what listens where, what is lost with one of them, and what the run comes to."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import IN_TWO, SAME, Bench, rlguide_executable
from tests.e2e.runs import recorded, wait_until, weights
from tests.e2e.two_hosts import PORT, TwoHosts, two_hosts

pytestmark = pytest.mark.engine

RUN = "saves/两个 nodes"
TOKEN = "hf_" + "onlyThroughStdin" * 2


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[TwoHosts]:
    home = tmp_path / "两 hosts"
    home.mkdir()
    with two_hosts(home) as found:
        yield found


def launched(bench: Bench, hosts: TwoHosts, *words: str) -> subprocess.Popen[str]:
    """rlguide on the host between the two; what it says goes to `said`."""
    command = hosts.inside("hub", rlguide_executable(), *words)
    with (bench.root / "said").open("a") as said:
        return subprocess.Popen(
            command,
            cwd=bench.root,
            env=bench.environment(HF_TOKEN=TOKEN, OMP_NUM_THREADS="1"),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            text=True,
        )


def test_a_lost_host_comes_back(two_bench: Bench, hosts: TwoHosts) -> None:
    """One is cut off and all its processes killed; the run ends with the adapter of one that was never interrupted."""
    bench = two_bench

    def said() -> str:
        return (bench.root / "said").read_text(encoding="utf-8")

    nodes = ("launch", "--nodes", "one,two", "--nproc", "1", "--ssh-config", str(hosts.config), "--max-restarts", "1")
    process = launched(bench, hosts, *nodes, "--", *SAME, "-o", RUN)
    listening: dict[str, set[str]] = {name: set() for name in hosts.names}
    has_token = set()
    try:
        while not (bench.root / RUN / "checkpoint-8" / "trainer_state.json").exists():
            assert process.poll() is None, said()
            time.sleep(0.1)
            for name in hosts.names:
                listening[name] |= hosts.listening(name)
                for pid in hosts.processes(name):
                    with suppress(OSError):
                        assert TOKEN.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
                        if f"HF_TOKEN={TOKEN}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                            has_token.add(name)
        hosts.lose("two")
        wait_until(lambda: "waiting for" in said(), process)
        assert recorded(bench, RUN, "status") == "failed"
        assert "a node of the training is gone: NodeLost: two" in said()
        left = [pid for pid in hosts.processes("one") if b"train.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert left == []
        hosts.bring_back("two")
        assert process.wait(300) == 0, said()
    finally:
        process.kill()
        process.wait()
    # What was sent where.
    assert has_token == set(hosts.names)
    for path in bench.root.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path
    for name, address in hosts.addresses.items():
        assert {where.rpartition(":")[0] for where in listening[name]} == {address}
    assert len(listening["one"] - {f"{hosts.addresses['one']}:{PORT}"}) >= 2  # the rendezvous and the processes' store
    # What came of it.
    assert said().count("restarting from the last checkpoint") == 1
    resumed = re.search(r"resuming from step (\d+) of 20", said())
    assert resumed and int(resumed[1]) >= 8
    record = json.loads((bench.root / RUN / "run.json").read_text(encoding="utf-8"))
    assert (record["status"], record["processes"]) == ("finished", 2)
    assert (record["launch"]["launcher"], record["launch"]["hosts"]) == ("ssh", ["one", "two"])
    history = [row for row in bench.history(RUN) if "loss" in row]
    assert history[0]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert [row["step"] for row in history] == list(range(1, 21))
    log = (bench.root / RUN / "engine.log").read_text(encoding="utf-8")
    for name in hosts.names:
        own = (bench.root / RUN / "logs" / f"{name}.log").read_text(encoding="utf-8").splitlines()
        assert f"[{name}] {own[-1]}" in log.splitlines()
    assert weights(bench, RUN) == weights(bench, IN_TWO)
