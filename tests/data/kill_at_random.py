"""Replaces a dataset over and over and kills the process that does it at a random moment; after each kill the next
command must find either the old version or the new one, whole. Run by test_nothing_lost.py.

usage: kill_at_random.py WORKSPACE TIMES SEED
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq  # noqa: F401

from rlguide.data.curate.filters import Filters
from rlguide.data.ingest.options import IngestOptions
from rlguide.data.ingest.register import register_path
from rlguide.data.store import journal, staging
from rlguide.data.store.dataset_info import read_registry
from rlguide.data.store.journal import settle
from rlguide.data.store.manifest import read_manifest
from rlguide.data.store.reading import read_examples
from rlguide.workspace import Workspace

ROWS = 400
FOREIGN = {"old": {"file_name": "old.json"}, "新": {"hf_hub_url": "a/b"}}


def source(workspace: Workspace, version: str) -> Path:
    path = workspace.root / f"{version}.jsonl"
    if not path.exists():
        rows = [
            {"prompt": f"问 {n}", "chosen": f"{version} {n}", "rejected": "no" if n % 50 else f"{version} {n}"}
            for n in range(ROWS)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def replace(workspace: Workspace, version: str, seed: int) -> None:
    # Half of the runs take the way of large files, where most rows do not wait for the split.
    staging.LARGE, staging.PROBE, staging.BATCH_ROWS = (10, 50, 20) if seed % 2 else (20_000, 5_000, 1_024)
    test_size = 0.0 if seed % 5 == 0 else 0.1
    options = IngestOptions("数据", keep_good=True, test_size=test_size, filters=Filters(seed=seed), force=True)
    register_path(workspace, source(workspace, version), options)


def check(workspace: Workspace) -> None:
    settle(workspace)
    entries = read_registry(workspace)
    assert {name: entries[name] for name in FOREIGN} == FOREIGN
    left = [path.name for path in workspace.data.glob(".*") if path.name != ".dataset_info.json.lock"]
    assert not left, left
    manifest = read_manifest(workspace, "数据")
    if "数据" not in entries:
        assert manifest is None and set(entries) == set(FOREIGN)
        return
    assert manifest is not None
    assert set(entries) == {*FOREIGN, *(file.dataset for file in manifest.files)}
    assert {path.name for path in workspace.data.glob("*.parquet")} == {file.file for file in manifest.files}
    for file in manifest.files:
        assert hashlib.sha256((workspace.data / file.file).read_bytes()).hexdigest() == file.sha256
    sides = [list(read_examples(workspace, file.dataset)) for file in manifest.files]
    pairs = [pair for side in sides for pair in side]
    assert len({pair.chosen.split()[0] for pair in pairs}) == 1, "both files are of one version"
    assert len({pair.messages for pair in pairs}) == len(pairs) == ROWS - ROWS // 50
    report = json.loads((workspace.data / "数据.report.json").read_text(encoding="utf-8"))
    assert len(report["rows"]) == ROWS // 50
    assert report["rows"][0]["file"] == f"{pairs[0].chosen.split()[0]}.jsonl"


def die_at(step: int) -> None:
    """Kill this process, without any clean-up, before its file operation number `step` from the commit on."""
    real_commit, left = journal._carry_out, step

    def count_down() -> None:
        nonlocal left
        if left == 0:
            os._exit(9)
        left -= 1

    def carry_out(space: Workspace, change: journal.Change) -> None:
        for name in ("replace", "unlink"):
            real = getattr(Path, name)
            setattr(Path, name, lambda *a, real=real, **k: (count_down(), real(*a, **k))[1])
        real_commit(space, change)

    journal._carry_out = carry_out


def in_child(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def main(workspace: Workspace, times: int, seed: int) -> None:
    chance = random.Random(seed)
    for version in "AB":
        source(workspace, version)
    started = time.monotonic()
    assert os.waitpid(in_child(lambda: replace(workspace, "A", 1)), 0)[1] == 0
    duration = time.monotonic() - started
    ends: Counter[str] = Counter()
    for number in range(times):
        version = "BA"[number % 2]
        child = in_child(lambda version=version, number=number: replace(workspace, version, number))  # type: ignore[misc]
        # Half of the kills aim at the end, where files are put in place.
        time.sleep(duration * (chance.uniform(0, 1.1) if number % 2 else chance.uniform(0.75, 1.05)))
        os.kill(child, signal.SIGKILL)
        # Machines change their speed: aim sooner after a run that was over, a little later after one that was not.
        duration *= 0.95 if os.waitpid(child, 0)[1] == 0 else 1.01
        ends["pending" if list(workspace.data.glob(".*.pending.json")) else "other"] += 1
        ends["left over"] += bool(list(workspace.data.glob(".*.tmp")))
        assert os.waitpid(in_child(lambda: check(workspace)), 0)[1] == 0, f"after kill {number}"
    sys.stdout.write(json.dumps(ends) + "\n")


if __name__ == "__main__":
    main(Workspace(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]))
