"""Finding an engine, with real interpreters."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rlguide.engine.find import find_engine
from rlguide.engine.install_plan import find_python
from rlguide.engine.state import ask
from rlguide.errors import EngineError


def fake_environment(root: Path, version: str | None = "0.9.5") -> Path:
    """A folder that looks like a virtual environment; its python is this one with one more place to look."""
    site = root / "site"
    site.mkdir(parents=True)
    if version:
        (site / f"llamafactory-{version}.dist-info").mkdir()
        (site / f"llamafactory-{version}.dist-info/METADATA").write_text(f"Name: llamafactory\nVersion: {version}\n")
    (root / "bin").mkdir()
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); exec(sys.argv.pop(1))"
    script = f'#!/bin/sh\nshift; code="$1"; shift\nexec "{sys.executable}" -I -S -c "{code}" "{site}" "$code" "$@"\n'
    python = root / "bin/python"
    python.write_text(script)
    python.chmod(0o755)
    (root / "bin/llamafactory-cli").write_text(f"#!{python}\n")
    return root


@pytest.mark.parametrize("part", ["", "bin/python", "bin/llamafactory-cli"])
def test_named_by_folder_python_or_script(tmp_path: Path, part: str) -> None:
    root = fake_environment(tmp_path / "引擎 env")
    engine = find_engine(str(root / part))
    assert engine.python == root / "bin/python"
    assert engine.version == "0.9.5"
    assert engine.cli == root / "bin/llamafactory-cli"


def test_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = fake_environment(tmp_path / "env")
    monkeypatch.setenv("RLGUIDE_ENGINE", str(root))
    assert find_engine().python == root / "bin/python"


@pytest.mark.parametrize("make", [lambda p: p / "nothing", lambda p: fake_environment(p / "env", None), lambda p: p])
def test_no_engine_there(tmp_path: Path, make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(EngineError) as error:
        find_engine(str(make(tmp_path)))
    assert "rlguide engine install" in error.value.fix


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the workspace, which may be somebody else's: asking an interpreter runs no json.py of it."""
    for name in ("json", "importlib", "ensurepip", "venv"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    assert "pytest" in ask(Path(sys.executable), ["pytest"])["versions"]
    if sys.version_info[:2] == (3, 11):
        find_python(sys.executable)
    assert not (tmp_path / "ran").exists()
