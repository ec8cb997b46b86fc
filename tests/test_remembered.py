"""What is remembered of a model's answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.errors import EngineError
from rlguide.remembered import remembered

WHAT = {"parts": ["x"]}
ITEMS = [["a"], ["b"], ["c"], ["a"]]


class Model:
    """Answers in capitals, and breaks off after `patience` answers."""

    def __init__(self, patience: int = 99) -> None:
        self.asked: list[list[str]] = []
        self.patience = patience

    def __call__(self, missing: list[int]) -> Iterator[tuple[int, str]]:
        for place in sorted(missing, reverse=True):
            if len(self.asked) >= self.patience:
                raise KeyboardInterrupt
            self.asked.append(ITEMS[place])
            yield place, ITEMS[place][0].upper()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "rlguide/answers"


def test_each_item_is_asked_once(cache: Path) -> None:
    model = Model()
    assert remembered("answers", WHAT, ITEMS[:2], model) == ["A", "B"]
    for _ in range(2):
        assert remembered("answers", WHAT, ITEMS, model) == ["A", "B", "C", "A"]
    assert sorted(model.asked) == [["a"], ["b"], ["c"]]
    remembered("answers", {"parts": ["y"]}, ITEMS, model)
    assert len(model.asked) == 6


def test_what_an_interrupted_one_has_answered_is_kept(cache: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        remembered("answers", WHAT, ITEMS, Model(patience=2))
    rest = Model()
    assert remembered("answers", WHAT, ITEMS, rest) == ["A", "B", "C", "A"]
    assert len(rest.asked) == 1


@given(data=st.data())
def test_damage_is_made_again(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        remembered("answers", WHAT, ITEMS, Model())
        (file,) = (folder / "rlguide/answers").iterdir()
        content = bytearray(file.read_bytes())
        start = data.draw(st.integers(0, len(content) - 1))
        content[start : start + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
        file.write_bytes(content)
        for _ in range(2):
            assert remembered("answers", WHAT, ITEMS, Model()) == ["A", "B", "C", "A"]


def test_a_cache_that_cannot_be_written_is_said(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.parent.write_text("a file where the folder should be")
    assert remembered("answers", WHAT, ITEMS, Model()) == ["A", "B", "C", "A"]
    assert "not kept" in capsys.readouterr().err


def test_too_few_answers_are_an_error(cache: Path) -> None:
    def only_one(missing: list[int]) -> list[tuple[int, Any]]:
        return [(missing[0], "A")]

    with pytest.raises(EngineError, match="only some"):
        remembered("answers", WHAT, ITEMS, only_one)
