"""Hosts that are this one, reached by a stand-in for ssh; and an engine that trains nothing."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rlguide.engine.find import Engine
from tests.recipes.conftest import ENGINE, ws  # noqa: F401

STAND_IN = Path(__file__).with_name("stand_in.py")
FAKE = Path(__file__).parents[2] / "runs" / "fake_trainer.py"


# What hosts other than "one" do of a training: wait for its end.
_FOLLOWS = """
import pathlib, sys, time
end = pathlib.Path(sys.argv[1]).with_name("train_results.json")
while not end.exists():
    time.sleep(0.05)
"""


@dataclass
class Hosts:
    """What the hosts are told to be, and the commands that ssh was given."""

    folder: Path

    def tell(self, name: str, **values: Any) -> None:
        """What is other on this host."""
        (self.folder / f"{name}.json").write_text(json.dumps(values))

    @property
    def commands(self) -> list[list[str]]:
        """Of ssh, in the order in which they came."""
        path = self.folder / "commands"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    folder = tmp_path / "hosts"
    (folder / "bin").mkdir(parents=True)
    _program(folder / "bin" / "ssh", f'exec {shlex.quote(sys.executable)} {shlex.quote(str(STAND_IN))} "$@"')
    monkeypatch.setattr("rlguide.launchers.ssh.OWN_END", 0.2)
    monkeypatch.setattr("rlguide.launchers.ssh.check._PAUSE", 0.1)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("STAND_IN", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Hosts(folder)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine that trains nothing, as `tests/runs/fake_trainer.py` does; its Python runs all else."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"rows": 40, "fail": []}))
    monkeypatch.setenv("FAKE_TRAINER", str(plan))
    python = tmp_path / "the engine" / "bin" / "python"
    python.parent.mkdir(parents=True)
    real, fake = shlex.quote(sys.executable), shlex.quote(str(FAKE))
    train = f'env > "$STAND_IN/env.$STAND_IN_HOST"; test "$STAND_IN_HOST" = one && exec {real} {fake} "$@"'
    others = f'exec {real} -c {shlex.quote(_FOLLOWS)} "$3"'
    _program(python, f'case "$1" in */train.py) {train}; {others};; *) exec {real} "$@";; esac')
    return replace(ENGINE, python=python)


def _program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
