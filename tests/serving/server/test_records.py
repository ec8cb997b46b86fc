"""What is served is read from files that anybody may have written, and a process may be another one by now."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlguide.engine.process import birth_of
from rlguide.errors import UsageError
from rlguide.serving.server import records
from rlguide.serving.server.records import ServerRecord


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerRecord:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    me = os.getpid()
    return ServerRecord(me, birth_of(me), "http://127.0.0.1:1/v1", "it", "it", "hf", "cpu", False, "/w", "/l")


def test_a_record_counts_as_long_as_its_process_lives(mine: ServerRecord) -> None:
    records.keep(mine)
    assert records.running() == ([mine], [])
    other = replace(mine, birth=f"{mine.birth}0")  # the same number, given to a process that began later
    records.keep(other)
    assert records.running() == ([], [other])
    assert records.running() == ([], [])


def test_another_host_that_shares_the_home_forgets_nothing(mine: ServerRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    records.keep(mine)
    birth = "boot-of-another-host:1"
    with monkeypatch.context() as other:
        other.setattr(records.platform, "node", lambda: "other")
        other.setattr(records, "birth_of", lambda pid: birth)
        assert records.running() == ([], [])
    assert records.running() == ([mine], [])


def test_no_port_is_another_one_that_ends_alike(mine: ServerRecord) -> None:
    other = replace(mine, address="http://127.0.0.1:8001/v1")
    assert records.meant([mine, other], None, 1) == mine
    with pytest.raises(UsageError, match="does not serve that"):
        records.meant([other], "another", None)


VALUES = st.none() | st.booleans() | st.integers(-2, 2**70) | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(ServerRecord.__dataclass_fields__)), VALUES) | VALUES)
def test_any_file_is_a_record_or_none(mine: ServerRecord, value: Any) -> None:
    changed = {**mine.__dict__, **value} if isinstance(value, dict) else value
    mine.file.parent.mkdir(parents=True, exist_ok=True)
    mine.file.write_text(json.dumps(changed), encoding="utf-8")
    alive, ended = records.running()
    for record in (*alive, *ended):
        assert record.file == mine.file and record.__dict__ == changed
