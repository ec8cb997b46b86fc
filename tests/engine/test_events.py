"""What the engine's worker tells, read back whatever stands in the file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.engine.events import Begun, Ended, EventReader, Lean, Logged, Progress, Raised, Saved, Saving, Tail

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
KINDS = ["begin", "step", "eval_batch", "log", "error", "children", "lean", "save", "saving", "end", "other"]
KEYS = [
    "step",
    "total_steps",
    "processes",
    "done",
    "total",
    "values",
    "chain",
    "exit_codes",
    "batch",
    "memory",
    "time",
    "tokens",
    "peak",
]


def test_events_are_what_was_written() -> None:
    reader = EventReader()
    lines = [
        {"event": "begin", "step": 20, "total_steps": 72, "processes": 2},
        {"event": "step", "step": 21},
        {"event": "eval_batch", "done": 3, "total": None},
        {"event": "log", "step": 21, "values": {"loss": 0.5, "grad_norm": "nan"}, "tokens": 900, "time": 7.25},
        {"event": "saving", "step": 21},
        {"event": "save", "step": 21},
        {"event": "error", "rank": 0, "chain": [{"type": "A", "message": "b"}, {"type": "C", "message": "d"}]},
        {"event": "children", "exit_codes": [-9, 1]},
        {"event": "lean", "time": 1.5, "used": ["logits"], "why_not": {}},
        {"event": "end", "step": 21},
    ]
    found = [reader.read(json.dumps(line)) for line in lines]
    assert found[:3] == [Begun(20, 72, 2), Progress("train", 21, 72), Progress("eval", 3, 0)]
    assert isinstance(found[3], Logged)
    assert (found[3].step, found[3].kind, found[3].values["loss"]) == (21, "train", 0.5)
    assert math.isnan(found[3].values["grad_norm"])
    assert (found[3].tokens, found[3].time, found[0].time) == (900, 7.25, 0.0)  # type: ignore[union-attr]
    assert found[4:] == [
        Saving(21),
        Saved(21),
        Raised((("A", "b"), ("C", "d"))),
        Raised(exit_codes=(-9, 1)),
        Lean({"used": ["logits"], "why_not": {}}),
        Ended(21),
    ]


@given(st.text() | st.fixed_dictionaries({"event": st.sampled_from(KINDS)}, optional=dict.fromkeys(KEYS, JSON)))
def test_any_line_is_survived(line: object) -> None:
    EventReader().read(line if isinstance(line, str) else json.dumps(line))


@pytest.mark.parametrize("step", [-1, 10**16, float("inf"), None, "x"])
def test_what_is_no_count_is_no_event(step: object) -> None:
    assert EventReader().read(json.dumps({"event": "step", "step": step})) is None


def test_deep_nesting_is_survived() -> None:
    assert EventReader().read("[" * 100_000) is None


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"loss": 1.0}, "train"),
        ({"eval_loss": 1.0, "epoch": 1.0}, "eval"),
        ({"train_runtime": 9.1, "train_loss": 0.5}, "summary"),
        # as transformers 4.57 logs with include_num_input_tokens_seen
        ({"loss": 1.0, "num_input_tokens_seen": 512.0, "train_runtime": 9.1}, "train"),
        ({"eval_loss": 1.0, "num_input_tokens_seen": 512.0}, "eval"),
    ],
)
def test_kinds(values: dict[str, float], kind: str) -> None:
    assert Logged(1, values).kind == kind


def test_a_tail_gives_each_line_once_and_only_what_came_after_it_began(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert list(Tail(path).lines()) == []
    path.write_bytes(b"before\n")
    tail, sign = Tail(path), "你\n".encode()
    for part, found in ((b"a\rb", ["a"]), (b"\n\n" + sign[:2], ["b"]), (sign[2:], ["你"]), (b"end", [])):
        with path.open("ab") as file:
            file.write(part)
        assert list(tail.lines()) == found
    assert list(tail.lines(is_last=True)) == ["end"]
    assert tail.start == len(b"before\n")


def test_a_tail_can_begin_at_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    assert list(Tail(path, 0).lines()) == ["before"]
