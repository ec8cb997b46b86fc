"""`rlguide plan` for a model alone, with steps that nobody simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlguide.catalog.gpus import parse_gpus
from rlguide.engine.find import Engine
from rlguide.engine.schema import Field, Schema
from rlguide.planner import asked, plan
from tests.cli.command import run
from tests.planner.conftest import step_of


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The config.json of a model, on a host with two GPUs."""
    path = tmp_path / "我的 model.json"
    path.write_text(json.dumps({"model_type": "qwen2", "num_hidden_layers": 2}))
    engine = Engine(Path("/nowhere/bin/python"), {"llamafactory": "0.9.5"})
    keys = {key: Field(key, (), (), None, "") for key in ("use_cpu", "bf16", "cutoff_len", "packing", "dataset_dir")}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("rlguide.engine.find.find_engine", lambda name: engine)
    monkeypatch.setattr(asked, "load_schema", lambda engine: Schema(keys, ("qwen",), {}))
    monkeypatch.setattr(asked, "host_gpus", lambda: parse_gpus("2xA6000"))
    monkeypatch.setattr(plan, "simulate", lambda engine, cases, is_enough: [step_of(case) for case in cases])
    return path.name


def planned(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run("plan", *arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_what_trains_on_the_cpu_is_not_planned_for_the_gpus_of_this_host(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    here = planned(capsys, "--model", model)
    assert here["gpus"]["count"] == 2 and here["fits"] is True
    cpu = planned(capsys, "--model", model, "--set", "use_cpu=true", "--set", "bf16=false")
    assert cpu["gpus"] is None and cpu["fits"] is None and cpu["seconds"] is None


def test_a_slip_in_a_setting_is_said_in_two_lines(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("plan", "--model", model, "--set", "cutoff_lenn=64") == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "cutoff_len" in first and second.startswith("  fix: ")


def write_pairs(folder: str, **more: Any) -> Path:
    """A registry with `pairs`, which nobody has seen as anything else yet."""
    home = Path(folder)
    home.mkdir()
    rows = [{"instruction": f"{n:300d}", "chosen": "Yes, please.", "rejected": "no" * 99} for n in range(320)]
    (home / "pairs.json").write_text(json.dumps(rows))
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    entry = {"file_name": "pairs.json", "ranking": True, "columns": columns}
    (home / "dataset_info.json").write_text(json.dumps({"pairs": entry, **more}))
    return home / "dataset_info.json"


@pytest.mark.parametrize(
    ("method", "folder"),
    [("dpo", "data"), ("kto", "data"), ("orpo", "data"), ("rm", "data"), ("sft", "data"), ("dpo", "my data")],
)
def test_pairs_are_planned_as_every_method_sees_them(
    model: str, method: str, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = write_pairs(folder).read_bytes()
    found = planned(capsys, "--method", method, "--model", model, "-d", "pairs", "--set", f"dataset_dir={folder}")
    assert "estimated by characters" in found["lengths"]["from"] and found["rows"] == 320 * (1 + (method == "kto"))
    chosen = 300 // 4 + 8 + 3 + 8
    assert found["lengths"]["longest"] == chosen + (0 if method == "sft" else round(198 / 4) - 3)  # tokens as estimated
    assert Path(folder, "dataset_info.json").read_bytes() == before


def test_rows_that_rlguide_does_not_read_fill_cutoff_len(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {"prompt": "instruction", "response": "output"}
    write_pairs("data", theirs={"file_name": "theirs.json", "columns": columns})
    Path("data/theirs.json").write_text(json.dumps([{"instruction": "What?", "output": "Yes."}] * 20))
    found = planned(capsys, "--method", "sft", "--model", model, "-d", "theirs", "--set", "cutoff_len=512")
    assert found["lengths"]["longest"] == 512


def test_packed_examples_fill_rows_of_cutoff_len(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_pairs("data")
    arguments = ("--method", "sft", "--model", model, "-d", "pairs", "--set", "cutoff_len=1024", "--template", "")
    apart = planned(capsys, *arguments)
    packed = planned(capsys, *arguments, "--set", "packing=true")
    assert packed["lengths"]["mean"] == packed["lengths"]["longest"] == 1024 > apart["lengths"]["longest"]
    assert packed["rows"] == -(-320 * apart["lengths"]["mean"] // 1024) and packed["steps"] < apart["steps"]
    other = ("--model", model, "--set", "packing=true")
    assert planned(capsys, *other)["rows"] == planned(capsys, "--model", model)["rows"]  # DPO packs nothing
