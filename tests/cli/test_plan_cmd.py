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
    keys = {key: Field(key, (), (), None, "") for key in ("use_cpu", "bf16", "cutoff_len")}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr("rlguide.engine.find.find_engine", lambda name: engine)
    monkeypatch.setattr(asked, "load_schema", lambda engine: Schema(keys, ("qwen",), {}))
    monkeypatch.setattr(asked, "host_gpus", lambda: parse_gpus("2xA6000"))
    monkeypatch.setattr(plan, "simulate", lambda engine, cases: [step_of(case) for case in cases])
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
