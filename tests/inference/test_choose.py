"""Which model a name means."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.engine.find import Engine
from rlguide.errors import UsageError
from rlguide.inference.choose import Choice, at_its_step, named_all, short_names
from rlguide.policy.policy import Policy
from rlguide.runs.choose import ModelRequest, Partner
from rlguide.workspace import Workspace


def no_engine() -> Engine:
    raise AssertionError("an address needs no engine")


def test_an_address_needs_no_engine(tmp_path: Path) -> None:
    choice = Choice(Workspace(tmp_path), no_engine, ModelRequest(), model="m")
    found = choice.named("http://box:8000/v1/")
    assert found.identity() == {"endpoint": "http://box:8000/v1", "model": "m"}


@pytest.mark.parametrize("name", ["base", "sft", None])
def test_without_a_run_there_is_none(tmp_path: Path, name: str | None) -> None:
    engine = Engine.__new__(Engine)
    with pytest.raises(UsageError):
        Choice(Workspace(tmp_path), lambda: engine, ModelRequest()).named(name)


@pytest.mark.parametrize("names", [["base", "sft"], ["http://127.0.0.1:8000/v1", "sft", "base"]])
def test_one_run_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]) -> None:
    """Both models are of the same run, which is said once, and whose held-out prompts are asked."""
    newest, found = SimpleNamespace(name="saves/m/lora/dpo"), []
    monkeypatch.setattr("rlguide.inference.choose.run_meant", lambda *_: found.append(newest) or newest)
    partner = Partner(Policy("b", ("saves/sft",), "t"), {}, "base + sft")
    monkeypatch.setattr(Choice, "_partner", lambda *_: partner)
    engine = Engine.__new__(Engine)
    _, run = named_all(Choice(Workspace(tmp_path), lambda: engine, ModelRequest()), names)
    assert found == [newest] and run is newest


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["saves/m/lora/dpo", "sft"], ["dpo", "sft"]),
        (["saves/a/lora/dpo", "saves/b/lora/dpo"], ["a/lora/dpo", "b/lora/dpo"]),
        (["saves/m/dpo", "saves/m/dpo"], ["dpo", "dpo (2)"]),
        (["saves/m/dpo/checkpoint-60", "saves/m/dpo"], ["dpo:60", "dpo"]),
        (["http://127.0.0.1:8000/v1", "https://host/v1/"], ["127.0.0.1:8000", "host"]),
        (["http://127.0.0.1:8000/v1#a", "http://127.0.0.1:8000/v1#b"], ["a", "b"]),
        (["http://127.0.0.1:8000/v1#a", "https://host/v1#a"], ["127.0.0.1:8000/a", "host/a"]),
        (["dpo (2)", "dpo", "dpo"], ["dpo (2)", "dpo", "dpo (3)"]),
    ],
)
def test_columns_have_short_names(names: list[str], shown: list[str]) -> None:
    assert short_names(names) == shown


@given(st.lists(st.text("ab/:1", min_size=1, max_size=8), min_size=1, max_size=4))
def test_no_two_columns_have_one_name(names: list[str]) -> None:
    found = short_names(names)
    assert len(set(found)) == len(names) and all(found)


def test_a_step_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "odd:5").mkdir()
    ws = Workspace(tmp_path)
    assert at_its_step(ws, "saves/m/dpo:60") == ("saves/m/dpo", 60)
    assert [at_its_step(ws, name) for name in ("odd:5", "saves/m/dpo", "http://127.0.0.1:8000")] == [None] * 3


@pytest.mark.parametrize("names", [[], ["base"], ["sft"]])
def test_one_model_is_no_comparison(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(UsageError):
        named_all(Choice(Workspace(tmp_path), no_engine, ModelRequest()), names)
