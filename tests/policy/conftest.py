"""A workspace for the tests of the policy room."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlguide.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace whose path has a space and Chinese characters, and the current folder elsewhere."""
    root = tmp_path / "my 工作区"
    root.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return Workspace(root)
