"""Which model a name means."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlguide.engine.find import Engine
from rlguide.errors import UsageError
from rlguide.inference.choose import Choice
from rlguide.runs.choose import ModelRequest
from rlguide.workspace import Workspace


def no_engine() -> Engine:
    raise AssertionError("an address needs no engine")


def test_an_address_needs_no_engine(tmp_path: Path) -> None:
    choice = Choice(Workspace(tmp_path), no_engine, ModelRequest(), model="m")
    found = choice.named("http://127.0.0.1:8000/v1/")
    assert found.identity() == {"endpoint": "http://127.0.0.1:8000/v1", "model": "m"}


@pytest.mark.parametrize("name", ["base", "sft", None])
def test_without_a_run_there_is_none(tmp_path: Path, name: str | None) -> None:
    engine = Engine.__new__(Engine)
    with pytest.raises(UsageError):
        Choice(Workspace(tmp_path), lambda: engine, ModelRequest()).named(name)
