"""What earlier trainings took is kept, survives damage, and decides the next plan."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlguide.catalog.gpus import parse_gpus
from rlguide.planner import learnt
from rlguide.planner.learnt import (
    FIXED_BYTES,
    SHARE,
    Outcome,
    allowance_for,
    efficiency_for,
    known_outcomes,
    record_outcome,
)
from rlguide.planner.time import Work, published_efficiency, seconds

GIB = 1 << 30
GPUS = parse_gpus("2xA6000")
PEAK = 2 * 154.8e12
PLANNED = Outcome("new", "a6000", 2, "bf16", "dpo", setting="qwen3-4b 2048")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "rlguide/outcomes.jsonl"


def timed(share: float, **changes: object) -> Outcome:
    """A training that reached this share of the peak."""
    outcome = replace(PLANNED, steps=100, flops_per_second=share * PEAK, run=f"run {len(known_outcomes())}")
    return replace(outcome, **changes)  # type: ignore[arg-type]


def test_without_outcomes_the_published_range_is_taken() -> None:
    assert known_outcomes() == []
    assert efficiency_for(GPUS, PLANNED) == published_efficiency(GPUS.model)
    assert efficiency_for(GPUS, replace(PLANNED, is_quantized=True)) == published_efficiency(GPUS.model, True)


def test_the_plan_of_a_setting_that_was_timed_is_within_five_percent() -> None:
    record_outcome(timed(0.4))
    found = efficiency_for(GPUS, PLANNED)
    assert (found.low, found.mid, found.high) == pytest.approx((0.4 / 1.05, 0.4, 0.42))
    assert found.runs == 1 and "measured once: the same setting" in found.why
    time = seconds(Work(0.4 * PEAK * 1000), GPUS, "bf16", found)
    assert time is not None and time.mid == pytest.approx(1000)


def test_the_more_alike_a_training_is_the_more_it_counts() -> None:
    record_outcome(timed(0.2, method="sft"))
    assert efficiency_for(GPUS, PLANNED).mid == pytest.approx(0.2)
    assert efficiency_for(GPUS, PLANNED).high == pytest.approx(0.3)
    record_outcome(timed(0.3, setting="another"))
    assert efficiency_for(GPUS, PLANNED).mid == pytest.approx(0.3)
    assert efficiency_for(GPUS, PLANNED).high == pytest.approx(0.375)
    record_outcome(timed(0.4))
    assert efficiency_for(GPUS, PLANNED).mid == pytest.approx(0.4)
    assert efficiency_for(GPUS, replace(PLANNED, setting="a third")).runs == 2


@pytest.mark.parametrize(
    "other",
    [{"gpu": "4090"}, {"dtype": "fp16"}, {"steps": 19}, {"flops_per_second": 0.0}, {"is_quantized": True}],
    ids=["another GPU", "another type", "too few steps", "not timed", "a quantized base"],
)
def test_what_cannot_be_compared_does_not_count(other: dict[str, object]) -> None:
    record_outcome(timed(0.4, **other))
    assert efficiency_for(GPUS, PLANNED).runs == 0


def test_of_three_the_median_and_the_extremes_count() -> None:
    for share in (0.5, 0.2, 0.4):
        record_outcome(timed(share))
    found = efficiency_for(GPUS, PLANNED)
    assert (found.low, found.mid, found.high, found.runs) == pytest.approx((0.2, 0.4, 0.5, 3))
    assert "measured 3 times" in found.why


def test_a_running_training_is_replaced_by_the_ended_one() -> None:
    record_outcome(timed(0.1, run="a", steps=20))
    record_outcome(timed(0.3, run="b"))
    record_outcome(timed(0.4, run="a"))
    assert [(each.run, round(each.flops_per_second / PEAK, 2)) for each in known_outcomes()] == [("b", 0.3), ("a", 0.4)]


def test_twenty_steps_suffice_and_another_number_of_gpus_is_less_alike() -> None:
    record_outcome(timed(0.4, steps=20, count=1, flops_per_second=0.4 * PEAK / 2))
    found = efficiency_for(GPUS, PLANNED)
    assert (found.mid, found.high) == pytest.approx((0.4, 0.6))
    assert "other trainings" in found.why


def test_an_impossible_speed_is_a_mistake() -> None:
    record_outcome(timed(1.3))
    assert efficiency_for(GPUS, PLANNED).runs == 0


def test_long_and_short_names_of_types_are_the_same() -> None:
    record_outcome(timed(0.4, dtype="torch.bfloat16"))
    assert efficiency_for(GPUS, replace(PLANNED, dtype="bfloat16")).mid == pytest.approx(0.4)


def test_a_failure_is_remembered_when_the_next_attempt_of_the_same_training_ends_well() -> None:
    record_outcome(replace(PLANNED, run="a", planned_bytes=40 * GIB, peak_bytes=47 * GIB, out_of_memory=True))
    record_outcome(replace(PLANNED, run="a", planned_bytes=20 * GIB, peak_bytes=21 * GIB))
    assert allowance_for(GPUS.model).of(40 * GIB) > 7 * GIB


def test_running_out_of_memory_raises_the_allowance_above_what_failed() -> None:
    planned = 40 * GIB
    before = allowance_for(GPUS.model)
    assert (before.fixed, before.share) == (FIXED_BYTES, SHARE)
    had = planned + before.of(planned) + GIB  # the plan said that it fits
    record_outcome(replace(PLANNED, planned_bytes=planned, peak_bytes=had, out_of_memory=True))
    after = allowance_for(GPUS.model)
    assert planned + after.of(planned) > had
    assert "ran out of memory" in after.why
    assert allowance_for(parse_gpus("4090").model) == before


def test_an_absurd_failure_does_not_forbid_everything() -> None:
    record_outcome(replace(PLANNED, planned_bytes=1, peak_bytes=48 * GIB, out_of_memory=True))
    assert allowance_for(GPUS.model).share <= 1


def test_three_ended_trainings_lower_the_allowance_but_cached_memory_never_raises_it() -> None:
    for place, share in enumerate((0.01, 0.03, 0.02)):
        assert allowance_for(GPUS.model).share == SHARE
        record_outcome(
            replace(PLANNED, run=str(place), planned_bytes=100 * GIB, peak_bytes=int((100 + 100 * share) * GIB))
        )
    assert allowance_for(GPUS.model).share == pytest.approx(0.03)
    record_outcome(replace(PLANNED, run="roomy", planned_bytes=10 * GIB, peak_bytes=20 * GIB))
    assert allowance_for(GPUS.model).share == SHARE


def test_a_line_that_was_cut_off_harms_no_other(state: Path) -> None:
    record_outcome(timed(0.3, run="a"))
    with state.open("a") as file:
        file.write('{"run": "cut')
    record_outcome(timed(0.4, run="b"))
    assert [each.run for each in known_outcomes()] == ["a", "b"]


OUTCOMES = st.builds(
    Outcome,
    run=st.text(max_size=12),
    gpu=st.sampled_from(["a6000", "4090", "NVIDIA Thing"]),
    count=st.integers(1, 8),
    dtype=st.sampled_from(["bf16", "fp16"]),
    method=st.sampled_from(["dpo", "sft"]),
    is_quantized=st.booleans(),
    setting=st.text(max_size=12),
    steps=st.integers(0, 10**6),
    flops_per_second=st.floats(0, 1e20),
    planned_flops_per_second=st.floats(0, 1e20),
    planned_bytes=st.integers(0, 1 << 50),
    peak_bytes=st.integers(0, 1 << 50),
    out_of_memory=st.booleans(),
    date=st.text(max_size=12),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(outcomes=st.lists(OUTCOMES, max_size=6, unique_by=lambda each: each.run))
def test_what_is_written_is_read(outcomes: list[Outcome], state: Path) -> None:
    state.unlink(missing_ok=True)
    for outcome in outcomes:
        record_outcome(outcome)
    assert known_outcomes() == outcomes


@st.composite
def damaged(draw: st.DrawFn) -> tuple[list[Outcome], bytes]:
    """Outcomes with distinct runs, and their file with damage between and over some of the lines."""
    outcomes = draw(st.lists(OUTCOMES, max_size=5, unique_by=lambda each: each.run))
    lines, sound = [], []
    for outcome in outcomes:
        line = json.dumps(asdict(outcome)).encode()
        kind = draw(st.sampled_from(["sound", "cut", "bytes", "value", "lost key"]))
        if kind == "sound":
            sound.append(outcome)
        elif kind == "cut":
            line = line[: draw(st.integers(0, len(line) - 1))]
        elif kind == "bytes":
            place = draw(st.integers(0, len(line) - 1))
            line = line[:place] + b"\xff\x00{" + line[place:]
        elif kind == "value":
            key = draw(st.sampled_from(list(asdict(outcome))))
            bad = draw(st.sampled_from([None, [], {}, -1, float("nan"), float("inf"), 1e300, "x" * 3, True, 10**400]))
            values = {**asdict(outcome), key: bad}
            line = json.dumps(values).encode()
            fits = {"run": str, "gpu": str, "dtype": str, "method": str, "setting": str, "date": str}
            if isinstance(bad, fits.get(key, ())) or (key in ("is_quantized", "out_of_memory") and bad is True):
                line = b""
        else:
            line = json.dumps({"run": outcome.run}).encode()
        lines.append(line)
        lines.extend(
            draw(st.lists(st.sampled_from([b"", b"[]", b"null", b"{}", b'"', b"[" * 5000, b"\xff"]), max_size=2))
        )
    return sound, b"\n".join(lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=damaged())
def test_damage_loses_only_what_it_touches(case: tuple[list[Outcome], bytes], state: Path) -> None:
    sound, content = case
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_bytes(content)
    assert [each for each in known_outcomes() if each in sound] == sound
    assert len(known_outcomes()) == len(sound)
    efficiency_for(GPUS, PLANNED)
    allowance_for(GPUS.model)
    record_outcome(replace(PLANNED, run="after"))
    assert known_outcomes()[-1].run == "after"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400))
def test_any_file_can_be_read(content: bytes, state: Path) -> None:
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_bytes(content)
    assert known_outcomes() == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(outcomes=st.lists(OUTCOMES, max_size=6, unique_by=lambda each: each.run))
def test_whatever_was_measured_gives_a_range_in_order(outcomes: list[Outcome], state: Path) -> None:
    state.unlink(missing_ok=True)
    for outcome in outcomes:
        record_outcome(outcome)
    found = efficiency_for(GPUS, PLANNED)
    assert 0 < found.low <= found.mid <= found.high
    assert 0 <= allowance_for(GPUS.model).share <= 1


def test_writers_at_the_same_time_lose_nothing() -> None:
    def write(name: str) -> None:
        for place in range(10):
            record_outcome(timed(0.4, run=f"{name} {place}"))

    threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(known_outcomes()) == 30


def test_the_file_does_not_grow_without_end(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learnt, "_LARGEST", 5000)
    monkeypatch.setattr(learnt, "_KEPT", 4)
    for place in range(40):
        record_outcome(timed(0.4, run=str(place)))
    assert state.stat().st_size < 6000
    assert known_outcomes()[-1].run == "39" and len(known_outcomes()) >= 4


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[None]:
    tmp_path.chmod(0o500)
    yield
    tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(read_only: None, capsys: pytest.CaptureFixture[str]) -> None:
    record_outcome(timed(0.4))
    assert "not kept for the next plan" in capsys.readouterr().err


def test_a_state_folder_that_is_a_file_is_said(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state.parent.parent.mkdir(exist_ok=True)
    state.parent.write_text("")
    record_outcome(timed(0.4))
    assert "not kept for the next plan" in capsys.readouterr().err
    assert known_outcomes() == []
