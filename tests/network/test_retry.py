"""How long is waited, and for what: bounds, Retry-After, and words that hold no address."""

from __future__ import annotations

import email.utils
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from rlguide.network import retry
from rlguide.network.faults import fault_name
from rlguide.network.retry import Backoff, GaveUp, requested_wait


@pytest.fixture(autouse=True, scope="module")
def far_from_greenwich() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "CST-8"  # eight hours before UTC
    time.tzset()
    yield
    del os.environ["TZ"]
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []
    monkeypatch.setattr(retry, "_sleep", waits.append)
    monkeypatch.delenv("RLGUIDE_RETRY_SECONDS", raising=False)
    return waits


def test_waits_double_and_end(slept: list[float]) -> None:
    backoff = Backoff()
    for _ in range(4):
        backoff.wait("x")
    with pytest.raises(GaveUp) as ended:
        backoff.wait("x")
    assert ended.value.tries == 5 and ended.value.requested is None
    for wait, middle in zip(slept, (1, 2, 4, 8), strict=True):
        assert 0.75 * middle <= wait <= 1.25 * middle


def test_progress_begins_the_count_again_but_not_the_time(slept: list[float]) -> None:
    backoff = Backoff()
    with pytest.raises(GaveUp):
        for _ in range(100_000):
            backoff.wait("x", 100.0)
            backoff.progress()
    assert len(slept) > 5 and sum(slept) <= retry.LONGEST_TOTAL


def test_what_is_asked_for_is_waited_up_to_a_bound(slept: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    Backoff().wait("the hub returned HTTP 429", 77.0)
    assert slept == [77.0]
    assert "the hub returned HTTP 429: trying again in 77 s, as the hub asks (try 2 of 5)" in capsys.readouterr().err
    with pytest.raises(GaveUp) as ended:
        Backoff().wait("x", retry.LONGEST_REQUESTED + 1)
    assert ended.value.requested == retry.LONGEST_REQUESTED + 1


def test_a_long_wait_says_what_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Clock:
        now = 1000.0

        def monotonic(self) -> float:
            return self.now

        def sleep(self, seconds: float) -> None:
            self.now += seconds

    clock = Clock()
    monkeypatch.setattr(retry, "time", clock)
    retry._sleep(13.0)
    assert capsys.readouterr().err.splitlines() == ["    8.0 s left", "    3.0 s left"]
    assert clock.now == 1013.0


@settings(deadline=None)
@given(st.text(max_size=40))
def test_any_header_is_understood_or_ignored(value: str) -> None:
    date = "Sun, 06 Nov 1994 08:49:37 GMT"
    for headers in (
        {"Retry-After": value},
        {"RateLimit": value},
        {"Retry-After": value, "RateLimit": value},
        {"Retry-After": value, "Date": value},
        {"Retry-After": date, "Date": value},
        {"Retry-After": value, "Date": date},
    ):
        found = requested_wait(headers)
        assert found is None or found >= 0


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 4 * 10**9))
def test_seconds_of_the_headers(seconds: int, now: int) -> None:
    assert requested_wait({"Retry-After": f" {seconds} "}) == seconds
    assert requested_wait({"RateLimit": f'"api";r=0;t={seconds}'}) == seconds
    # Against the hub's own clock, whatever the local one and its zone say, and in all three forms of RFC 9110.
    until = datetime.fromtimestamp(now + seconds, UTC)
    date = email.utils.formatdate(now, usegmt=True)
    forms = ("%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y")
    for form in forms if 1970 <= until.year < 2069 else forms[::2]:
        assert requested_wait({"Retry-After": until.strftime(form), "Date": date}) == seconds


def test_a_date_without_the_hubs_clock_is_compared_with_the_local_one() -> None:
    for zone in ("GMT", "-0000", ""):  # without a zone UTC is meant, wherever this machine stands
        date = datetime.fromtimestamp(time.time() + 5000, UTC).strftime(f"%a, %d %b %Y %H:%M:%S {zone}")
        for clock in ({}, {"Date": "yesterday"}):
            found = requested_wait({"Retry-After": date} | clock)
            assert found is not None and 3000 < found <= 5000


@settings(deadline=None)
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
