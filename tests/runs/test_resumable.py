"""What a resumed training is held against: the data and how it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlguide.data.store.registered import check_registered, checksum
from rlguide.engine.hardware import Gpu
from rlguide.errors import UsageError
from rlguide.launchers.launch import Launch, in_effect
from rlguide.policy.run_record import RecordedReference, RunRecord
from rlguide.runs.record import Run
from rlguide.runs.resumable import check_data_unchanged, resumed_launch, same_processes
from rlguide.workspace import Workspace
from tests.cli.command import run as rlguide

OTHER_READINGS: list[dict[str, Any]] = [
    {"columns": {"prompt": "prompt", "chosen": "rejected", "rejected": "chosen"}},
    {"columns": {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}},  # without the system prompts
    {"num_samples": 3},
]


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    rows = [{"instruction": f"Prompt {at}?", "chosen": f"good {at}", "rejected": f"bad {at}"} for at in range(8)]
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    assert rlguide("register", str(tmp_path / "pairs.json"), "-w", str(tmp_path), "--test-size", "0") == 0
    return Workspace(tmp_path)


def begun(ws: Workspace) -> Run:
    """A run that was interrupted."""
    (item,) = check_registered(ws, ["pairs"])
    record = RunRecord(
        method="dpo",
        base="models/base",
        stack=("saves/dpo",),
        reference=RecordedReference("models/base", ()),
        checksums={"pairs": checksum(ws, item)},
        readings=json.loads(json.dumps({"pairs": item.reading})),
        config={"dataset": "pairs", "dataset_dir": "data"},
    )
    return Run(ws.saves / "dpo", "saves/dpo", record)


def edit(ws: Workspace, **values: Any) -> None:
    entries = json.loads(ws.dataset_info.read_text())
    entries["pairs"].update(values)
    ws.dataset_info.write_text(json.dumps(entries))


@pytest.mark.parametrize("values", OTHER_READINGS, ids=["swapped", "fewer columns", "samples"])
def test_the_same_file_read_in_another_way_is_other_data(ws: Workspace, values: dict[str, Any]) -> None:
    run = begun(ws)
    before = json.loads(ws.dataset_info.read_text())["pairs"]
    check_data_unchanged(ws, run)
    edit(ws, **values)
    with pytest.raises(UsageError, match="read in another way") as error:
        check_data_unchanged(ws, run)
    start, end = error.value.fix.index("{"), error.value.fix.rindex("}")
    ws.dataset_info.write_text(
        json.dumps({"pairs": {"file_name": before["file_name"], **json.loads(error.value.fix[start : end + 1])}})
    )
    check_data_unchanged(ws, run)  # the fix works


def test_a_file_of_another_name_is_the_same_data(ws: Workspace) -> None:
    run = begun(ws)
    (ws.data / "pairs.parquet").rename(ws.data / "moved.parquet")
    edit(ws, file_name="moved.parquet")
    check_data_unchanged(ws, run)


def on_gpus(monkeypatch: pytest.MonkeyPatch, *indices: int) -> None:
    gpus = [Gpu(index, "A6000", 48 << 30, 48 << 30, (8, 6)) for index in indices]
    monkeypatch.setattr("rlguide.launchers.launch.every_gpu", lambda: gpus)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def launched(**launch: Any) -> Run:
    record = RunRecord(processes=2, launch=Launch(**launch).as_dict())
    return Run(Path("saves/dpo"), "saves/dpo", record)


def test_resumed_on_the_gpus_it_began_on_or_on_others(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpus(monkeypatch, 0, 1, 2)
    run = launched(gpus="0,1")
    assert resumed_launch(run, Launch()) == run.launch
    assert resumed_launch(run, Launch(gpus="1,2")).gpus == "1,2"
    on_gpus(monkeypatch, 0)
    with pytest.raises(UsageError, match="there is no GPU 1 on this host"):
        resumed_launch(run, Launch())


def test_resumed_on_as_many_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    on_gpus(monkeypatch)
    run = launched(nproc=2)
    assert resumed_launch(run, Launch(nproc=2)) == run.launch
    with pytest.raises(UsageError, match="began on 2 processes, and --nproc 3 would train something else"):
        resumed_launch(run, Launch(nproc=3))


@pytest.mark.parametrize(("nproc", "nodes"), [(None, 1), (999_999, 1), (999_999, 2)])
def test_a_record_starts_no_more_processes_than_this_host_can_have(
    monkeypatch: pytest.MonkeyPatch, nproc: int | None, nodes: int
) -> None:
    """It may be somebody else's, and is resumed without a word on how many it says."""
    monkeypatch.setattr("rlguide.runs.resumable.list_gpus", list)
    launch = Launch(nproc=nproc, nodes=nodes)
    run = Run(Path("saves/dpo"), "saves/dpo", RunRecord(processes=999_999 * nodes, launch=launch.as_dict()))
    with in_effect(launch), pytest.raises(UsageError, match="saves/dpo: 999999 processes would train on") as caught:
        same_processes(run)
    assert "--nproc" not in caught.value.fix  # another number would train something else
