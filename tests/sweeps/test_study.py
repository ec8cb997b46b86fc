"""The study on disk: no trial is lost or given out twice, wherever a process was killed."""

from __future__ import annotations

import errno
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from rlguide.errors import DataError, UsageError
from rlguide.recipes.options import TrainingOptions
from rlguide.sweeps import study as studies
from rlguide.sweeps.objective import Objective
from rlguide.sweeps.space import grid_points
from rlguide.sweeps.study import JOURNAL, STARTUP_TRIALS, WARM_UP, Study, check_optuna
from rlguide.sweeps.sweep import SEARCH, open_sweep, read_sweep, write_sweep
from rlguide.workspace import Workspace
from tests.sweeps.conftest import ACCURACY, grid, search

pytest.importorskip("optuna")
GRID = grid("learning_rate=1,3,5", "lora_rank=8,16", objective=ACCURACY)
SEARCHED = search("pref_beta=0.01:0.5:log", "lora_rank=8:64", "pref_loss=sigmoid,hinge", trials=9)


def test_a_grid_is_asked_for_once_in_its_order(tmp_path: Path) -> None:
    study = Study(tmp_path, GRID)
    found = []
    while (number := study.next()) is not None:
        found.append(study.settings(number))
        assert study.open_numbers() == [number]
        study.tell(number, 0.5, "COMPLETE")
        study = Study(tmp_path, GRID)  # as after a restart
    assert found == grid_points(GRID.axes)


def test_a_search_that_is_interrupted_draws_what_it_would_have_drawn(tmp_path: Path) -> None:
    def draw(folder: Path, restart: bool) -> list[dict[str, object]]:
        study, found = Study(folder, SEARCHED), []
        while (number := study.next()) is not None:
            if restart:
                study = Study(folder, SEARCHED)
            found.append(study.settings(number))
            study.tell(number, float(found[-1]["pref_beta"]), "COMPLETE")  # type: ignore[arg-type]
        return found

    whole, pieces = draw(tmp_path / "a", False), draw(tmp_path / "b", True)
    assert whole == pieces and len(whole) == 9
    assert len({tuple(point.values()) for point in whole}) == 9  # one seed for all draws the first again
    for point in whole:
        assert 0.01 <= point["pref_beta"] <= 0.5 and point["pref_loss"] in ("sigmoid", "hinge")  # type: ignore[operator]
        assert isinstance(point["lora_rank"], int) and 8 <= point["lora_rank"] <= 64
    other = Study(tmp_path / "c", replace(SEARCHED, seed=1))
    assert other.settings(other.next() or 0) != whole[0]


def test_a_journal_that_was_cut_anywhere_goes_on(tmp_path: Path) -> None:
    study = Study(tmp_path / "whole", SEARCHED)
    for number in range(4):
        assert study.next() == number
        if number < 3:
            study.tell(number, number / 10, "COMPLETE")
    journal = (tmp_path / "whole" / JOURNAL).read_bytes()
    points = [study.settings(number) for number in range(4)]
    draw = random.Random(0)
    for turn in range(10):
        folder = tmp_path / str(turn)
        folder.mkdir()
        (folder / JOURNAL).write_bytes(journal[: draw.randrange(len(journal) + 1)])
        again = Study(folder, SEARCHED)
        begun = again.numbers()
        assert begun == list(range(len(begun)))
        assert [again.settings(number) for number in begun] == points[: len(begun)]
        while (number := again.next()) is not None:
            begun.append(number)
        assert begun == list(range(9))
        assert Study(folder, SEARCHED).numbers() == begun  # and what was written then can be read


def test_a_damaged_journal_is_said(tmp_path: Path) -> None:
    Study(tmp_path, GRID)
    path = tmp_path / JOURNAL
    path.write_bytes(b"{not json}\n" + path.read_bytes())
    with pytest.raises(DataError, match="cannot be read"):
        Study(tmp_path, GRID)


def test_a_trial_below_the_median_is_hopeless_after_the_warm_up(tmp_path: Path) -> None:
    sweep = replace(search("a=0:1", trials=20), objective=ACCURACY)
    study = Study(tmp_path, sweep)
    for number in range(STARTUP_TRIALS):
        study.next()
        for percent in (WARM_UP // 2, 50, 100):
            study.report(number, percent, 0.6 + number / 100)
        assert not study.is_hopeless(number)  # too few have ended
        study.tell(number, 0.6 + number / 100, "COMPLETE")
    good, bad = study.next(), study.next()
    assert good is not None and bad is not None
    study.report(bad, WARM_UP // 2, 0.1)
    assert not study.is_hopeless(bad)
    study.report(bad, 50, 0.1)
    study.report(good, 50, 0.7)
    assert study.is_hopeless(bad) and not study.is_hopeless(good)
    assert not Study(tmp_path, replace(sweep, is_pruned=False)).is_hopeless(bad)
    study.tell(bad, None, "PRUNED")
    assert study.pruned_numbers() == [bad] and study.open_numbers() == [good]


def test_without_optuna_two_lines_say_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        check_optuna()
    assert "rlguide[sweep]" in caught.value.fix


OPTIONS = TrainingOptions(
    sft_ckpt="saves/工作 x",
    datasets=("a", "b"),
    config=Path("configs/我的.yaml"),
    settings={"lora_rank": 8, "bf16": True, "a": None, "b": "off"},
    trust_base=True,
    quantization=4,
)


def test_what_was_asked_for_is_read_back(ws: Workspace) -> None:
    for sweep in (replace(GRID, train=OPTIONS, launch=("--slurm", "gpus=1")), SEARCHED):
        folder = ws.saves / "sweeps" / sweep.name
        write_sweep(folder, sweep, [{"number": 0}])
        assert (
            read_sweep(folder) == sweep == open_sweep(ws, sweep.name) == open_sweep(ws, f"saves/sweeps/{sweep.name}/")
        )
    more = replace(SEARCHED, trials=30, is_pruned=False)
    assert more.same_as(SEARCHED) and not replace(more, seed=1).same_as(SEARCHED)
    assert not replace(SEARCHED, train=OPTIONS).same_as(SEARCHED)
    with pytest.raises(UsageError, match="did you mean"):
        open_sweep(ws, "扫 swep")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kind", "other"),
        ("trials", 0),
        ("trials", "9"),
        ("trials", 10**9),
        ("axes", []),
        ("axes", [{"kind": "range", "key": "a", "low": 2, "high": 1, "is_log": False, "is_whole": False}]),
        ("axes", [{"kind": "range", "key": "a", "low": -1, "high": 1, "is_log": True, "is_whole": False}]),
        ("axes", [{"kind": "choices", "key": "a", "values": [[1]]}]),
        ("axes", [{"kind": "choices", "key": "trust_remote_code", "values": [True]}]),
        ("axes", [{"kind": "choices", "key": "push_to_hub", "values": [True]}]),
        ("axes", [{"kind": "choices", "key": "output_dir", "values": ["/tmp/x"]}]),
        ("train", {"workspace": "/"}),
        ("train", {"sft_ckpt": 1}),
        ("train", {"trust_base": "yes"}),
        ("train", {"quantization": 3}),
        ("objective", None),
        ("seed", 0.5),
        ("launch", ["--engine", "/tmp/python"]),
        ("launch", ["--slurm"]),
    ],
)
def test_a_record_that_is_none_is_refused(ws: Workspace, key: str, value: object) -> None:
    folder = ws.saves / "sweeps" / SEARCHED.name
    write_sweep(folder, SEARCHED)
    found = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps({**found, key: value}))
    with pytest.raises(DataError):
        read_sweep(folder)


@pytest.mark.parametrize(
    "axes",
    [
        [{"kind": "choices", "key": key, "values": list(range(1000))} for key in "abcdef"],  # not to be multiplied out
        [{"kind": "choices", "key": "a", "values": [1, 2]}],  # trials that no point says
        [{"kind": "range", "key": "a", "low": 1, "high": 2, "is_log": False, "is_whole": False}],
    ],
)
def test_a_grid_that_is_none_is_refused(ws: Workspace, axes: list[object]) -> None:
    folder = ws.saves / "sweeps" / GRID.name
    write_sweep(folder, GRID)
    found = json.loads((folder / "sweep.json").read_text())
    (folder / "sweep.json").write_text(json.dumps({**found, "axes": axes}))
    with pytest.raises(DataError):
        read_sweep(folder)


def test_a_journal_may_not_say_other_values_than_the_space_has(tmp_path: Path) -> None:
    study = Study(tmp_path, SEARCHED)
    study.settings(study.next() or 0)
    path = tmp_path / JOURNAL
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        if row.get("param_name") == "pref_beta":
            row["param_value_internal"] = 1e6
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="cannot be read"):
        Study(tmp_path, SEARCHED).settings(0)
    with pytest.raises(DataError, match="cannot be read"):  # of another sweep
        Study(tmp_path, replace(SEARCHED, axes=search("pref_loss=sigmoid,ipo", trials=9).axes)).settings(0)


def test_a_journal_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    other = tmp_path / "mine"
    other.write_text("no newline")
    (tmp_path / JOURNAL).symlink_to(other)
    with pytest.raises(DataError, match="cannot be read"):
        Study(tmp_path, GRID)
    assert other.read_text() == "no newline"


def test_a_full_disk_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from optuna.storages.journal import JournalFileBackend

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    study = Study(tmp_path, GRID)
    monkeypatch.setattr(JournalFileBackend, "append_logs", full)
    with pytest.raises(OSError, match="No space left"):
        study.next()
    with pytest.raises(OSError, match="No space left"):
        Study(tmp_path / "new", GRID)


def test_an_objective_keeps_its_kind(tmp_path: Path) -> None:
    assert SEARCHED.kind == SEARCH and Objective("loss", "eval_loss", False).words == "held-out loss"
