"""`run.json`: read whatever it holds, and lose nothing when it is written again."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlguide.policy.run_record import RUN_FILE, RecordedReference, RunRecord, read_record, record_of, write_record

KEYS = [item.name for item in fields(RunRecord) if item.name != "other"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
# As version 0.1.0 wrote it.
EARLIER = {
    "rlguide": "0.1.0",
    "method": "dpo",
    "status": "running",
    "created": "2026-01-01T00:00:00+00:00",
    "base": "models/tiny",
    "template": "qwen3_nothink",
    "stack": ["saves/sft", "saves/dpo"],
    "reference": {"base": "models/tiny", "adapters": ["saves/sft"]},
    "datasets": {"a": 3},
    "config": {"stage": "dpo"},
    "pid": 12,
    "a key of a later version": [1],
}


def written(folder: Path, value: object) -> Path:
    (folder / RUN_FILE).write_text(json.dumps(value), encoding="utf-8")
    return folder


def test_an_earlier_record_is_read_and_no_key_of_it_is_lost(tmp_path: Path) -> None:
    record = read_record(written(tmp_path, EARLIER))
    assert record is not None
    assert record.stack == ("saves/sft", "saves/dpo")
    assert record.reference == RecordedReference("models/tiny", ("saves/sft",))
    write_record(tmp_path, replace(record, status="finished", pid=None))
    values = json.loads((tmp_path / RUN_FILE).read_text(encoding="utf-8"))
    assert {key: values[key] for key in EARLIER} == {**EARLIER, "status": "finished", "pid": None}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANYTHING | st.dictionaries(st.sampled_from(KEYS) | st.text(), ANYTHING))
def test_anything_is_read_and_stays_the_same_when_written(tmp_path: Path, value: object) -> None:
    record = read_record(written(tmp_path, value))
    assert (record is not None) == isinstance(value, dict)
    if record is not None:
        write_record(tmp_path, record)
        assert read_record(tmp_path) == record


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("method", 3),
        ("template", ["qwen3"]),
        ("pid", True),
        ("stack", ["a", 1]),
        ("stack", "a"),
        ("reference", {"base": "b", "adapters": [None]}),
        ("reference", ["b"]),
        ("config", []),
    ],
)
def test_a_value_of_the_wrong_type_counts_as_not_recorded(tmp_path: Path, key: str, value: object) -> None:
    record = read_record(written(tmp_path, {**EARLIER, key: value}))
    assert record is not None
    assert getattr(record, key) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "7" * 5000, "[" * 100_000, '{"pid": ' + "7" * 5000 + "}"])
def test_what_is_not_a_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / RUN_FILE).write_text(text)
    assert read_record(tmp_path) is None


def test_a_checkpoint_belongs_to_the_run_around_it(tmp_path: Path) -> None:
    inner, other = tmp_path / "checkpoint-5", tmp_path / "elsewhere"
    inner.mkdir()
    other.mkdir()
    written(tmp_path, EARLIER)
    assert record_of(inner) == record_of(tmp_path) == read_record(tmp_path)
    assert record_of(other) is None
