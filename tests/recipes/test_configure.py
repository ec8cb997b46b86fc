"""`rlguide configure`, and the dry run, typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlguide.workspace import Workspace
from tests.cli.command import run
from tests.engine.fake_engines import main_engine
from tests.recipes.test_prepare import files


@pytest.fixture(autouse=True)
def _engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLGUIDE_ENGINE", str(main_engine(tmp_path / "engine").python))


def test_a_second_configure_says_what_it_drops(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    place = ("--workspace", str(ws.root))
    assert run("configure", *place, "--set", "pref_beta=0.2") == 0
    assert "was rendered before" not in capsys.readouterr().err
    assert run("configure", *place) == 0
    assert "pref_beta: 0.2 -> 0.1" in capsys.readouterr().err
    assert "rlguide train --config configs/dpo_config.yaml" in (ws.configs / "dpo_config.yaml").read_text("utf-8")


@pytest.mark.parametrize("method", ["dpo", "kto", "rm"])
def test_a_dry_run_changes_no_file(ws: Workspace, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(ws.root)
    assert run("train", "--workspace", str(ws.root), "--method", method, "--dataset", "polite", "--dry-run") == 0
    assert files(ws.root) == before
    assert f"stage: {method}" in capsys.readouterr().out
