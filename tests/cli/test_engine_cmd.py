from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from rlguide.catalog.methods import methods
from rlguide.engine.state import engine_folder
from tests.cli.command import run
from tests.engine.fake_engines import main_engine


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The main engine's folder; no other engine is installed."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    root = tmp_path / "引擎"
    main_engine(root)
    return root


def test_list_says_what_each_can_and_why_not(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("engine", "list", "--engine", str(engine)) == 0
    out = capsys.readouterr().out
    assert "trains dpo (sigmoid, hinge, ipo), kto, orpo, simpo, rm, sft\n" in out
    assert "not ppo: LLaMA-Factory 0.9.5 refuses PPO" in out
    assert "is not installed" in out and "rlguide engine install ppo" in out


def test_list_as_json(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("engine", "list", "--json", "--engine", str(engine)) == 0
    main, ppo = json.loads(capsys.readouterr().out)
    assert main["versions"]["trl"] == "0.19.1"
    assert {item["method"] for item in main["abilities"]} == set(methods())
    assert [item["method"] for item in main["abilities"] if not item["can"]] == ["ppo"]
    assert ppo["python"] is None and ppo["trouble"] == "is not installed"


def test_nothing_starts_unasked(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("engine", "install", "ppo", "--engine", str(engine)) == 2
    said = capsys.readouterr().err
    assert "--yes" in said and "MB on disk" in said and "takes about" in said
    assert not engine_folder("ppo").exists()


def test_an_unknown_name(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("engine", "install", "pop", "--engine", str(engine)) == 2
    assert "did you mean ppo" in capsys.readouterr().err


def test_no_on_a_terminal_writes_nothing(engine: Path) -> None:
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).with_name("rlguide")), "engine", "install", "ppo", "--engine", str(engine)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
    os.close(theirs)
    said = b""
    while b"install it?" not in said:
        said += os.read(ours, 1024)
    os.write(ours, b"n\n")
    assert process.wait(timeout=20) == 1
    os.close(ours)
    assert b"MB on disk" in said
    assert not engine_folder("ppo").exists()
