"""What the demo does around the engine; the whole of it is in tests/e2e/test_demo.py."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rlguide.demo.journey import _demo_environment, _training_progress, choose_folder
from rlguide.demo.score import compare, read_held_out, samples
from rlguide.engine.events import Begun
from rlguide.engine.job import Event, Line
from rlguide.errors import UsageError


def test_a_folder_that_holds_something_is_never_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert choose_folder(None) == Path("rlguide-demo")
    (tmp_path / "rlguide-demo").mkdir()
    assert choose_folder(None) == Path("rlguide-demo")
    (tmp_path / "rlguide-demo" / "mine.txt").write_text("x")
    assert choose_folder(None) == Path("rlguide-demo-2")
    with pytest.raises(UsageError):
        choose_folder(tmp_path / "rlguide-demo")
    with pytest.raises(UsageError):
        choose_folder(tmp_path / "rlguide-demo" / "mine.txt")
    assert choose_folder(tmp_path / "新 的") == tmp_path / "新 的"


def test_scores_of_perfect_and_wrong_answers() -> None:
    held_out = read_held_out()
    tasks = [pair.task for pair in held_out]
    lines = compare(tasks, [pair.rejected for pair in held_out], [pair.chosen for pair in held_out])
    *instructions, topic = lines
    assert all(line.points == 100 and line.sft.done == 0 for line in instructions)
    assert topic.sft.value == topic.dpo.value == 1
    whole, english, chinese, *kinds = instructions
    assert whole.sft.total == english.sft.total + chinese.sft.total == sum(line.sft.total for line in kinds)
    assert whole.sft.total == len(held_out)


def test_samples_are_of_both_languages_and_differ() -> None:
    held_out = read_held_out()
    tasks = [pair.task for pair in held_out]
    before, after = [pair.rejected for pair in held_out], [pair.chosen for pair in held_out]
    picked = samples(tasks, before, after, number=2)
    assert [tasks[index].language for index in picked] == ["en", "en", "zh", "zh"]
    assert samples(tasks, after, after) == []


def test_progress_of_the_base_model_is_read() -> None:
    line = json.dumps({"event": "step", "step": 3, "steps": 9, "loss": 1.5})
    told: list[tuple[Event, object]] = [
        (Line(line), (3, 9, {"loss": 1.5})),
        (Line("{'loss': 0.1} 50%|#####     | 6/12 [00:10<00:10]"), None),
        (Begun(0, 12, 1), None),
    ]
    for event, found in told:
        assert _training_progress(event) == found


def test_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    before = dict(os.environ)
    with _demo_environment():
        assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert dict(os.environ) == before
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with _demo_environment():
        assert os.environ["HF_HUB_OFFLINE"] == "0"
