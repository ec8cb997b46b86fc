"""How long is waited, and for what: bounds, Retry-After, and words that hold no address."""

from __future__ import annotations

import email.utils
import time

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from rlguide.preferences import retry
from rlguide.preferences.hub_session import fault_name, range_start
from rlguide.preferences.retry import GaveUp, Patience, requested_wait


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(retry, "_sleep", waits.append)
    monkeypatch.delenv("RLGUIDE_RETRY_SECONDS", raising=False)
    return waits


def test_waits_double_and_end(slept: list[float]) -> None:
    patience = Patience()
    for _ in range(4):
        patience.wait("x")
    with pytest.raises(GaveUp) as ended:
        patience.wait("x")
    assert ended.value.tries == 5 and ended.value.requested is None
    for wait, middle in zip(slept, (1, 2, 4, 8), strict=True):
        assert 0.75 * middle <= wait <= 1.25 * middle


def test_progress_begins_the_count_again_but_not_the_time(slept: list[float]) -> None:
    patience = Patience()
    with pytest.raises(GaveUp):
        for _ in range(100_000):
            patience.wait("x", 100.0)
            patience.progress()
    assert len(slept) > 5 and sum(slept) <= retry.LONGEST_TOTAL


def test_what_is_asked_for_is_waited_up_to_a_bound(slept: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    Patience().wait("the hub answers HTTP 429", 77.0)
    assert slept == [77.0]
    assert "the hub answers HTTP 429: trying again in 77 s, as the hub asks (try 2 of 5)" in capsys.readouterr().err
    with pytest.raises(GaveUp) as ended:
        Patience().wait("x", retry.LONGEST_REQUESTED + 1)
    assert ended.value.requested == retry.LONGEST_REQUESTED + 1


def test_a_long_wait_says_what_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(retry, "SAY_EVERY", 0.2)
    retry._sleep(1.5)
    assert capsys.readouterr().err.splitlines()[:2] == ["    1.3 s left", "    1.1 s left"]


@given(st.text(max_size=40))
def test_any_header_is_understood_or_ignored(value: str) -> None:
    for headers in ({"Retry-After": value}, {"RateLimit": value}, {"Retry-After": value, "RateLimit": value}):
        found = requested_wait(headers)
        assert found is None or found >= 0


@given(st.integers(0, 10**6))
def test_seconds_of_the_headers(seconds: int) -> None:
    assert requested_wait({"Retry-After": f" {seconds} "}) == seconds
    assert requested_wait({"RateLimit": f'"api";r=0;t={seconds}'}) == seconds
    date = email.utils.formatdate(time.time() + seconds, usegmt=True)
    found = requested_wait({"Retry-After": date})
    assert found is not None and abs(found - seconds) < 2


@given(st.floats(0, 1e6))
def test_the_base_is_taken_from_the_environment(seconds: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLGUIDE_RETRY_SECONDS", str(seconds))
        assert retry.first_wait() == seconds
        patch.setenv("RLGUIDE_RETRY_SECONDS", "soon")
        assert retry.first_wait() == 1.0


@pytest.mark.parametrize("kind", [requests.ConnectionError, requests.Timeout, requests.exceptions.SSLError])
@pytest.mark.parametrize("text", ["Connection refused", "Read timed out.", "NameResolutionError", "x"])
def test_a_fault_is_named_without_its_address(kind: type[Exception], text: str) -> None:
    assert "secret" not in fault_name(kind(f"https://host/?signature=secret {text}"))


@given(st.integers(0, 10**12))
def test_the_start_of_a_range(start: int) -> None:
    assert range_start({"range": f"bytes={start}-"}) == start
    assert range_start({"Accept": "x"}) == 0
