from __future__ import annotations

import pytest

from rlguide import progress as module
from rlguide.progress import Ticker, format_bytes


def test_a_plain_line_has_amount_share_rate_and_time_left() -> None:
    ticker = Ticker("checking a.jsonl", "rows", 10_000)
    ticker.done = 2_500
    assert ticker.line(5.0) == "checking a.jsonl: 2,500 of 10,000 rows (25%), 500 rows/s, about 15 s left"
    unknown = Ticker("fetching x", "bytes", None)
    unknown.done = 3_000_000
    assert unknown.line(2.0) == "fetching x: 3.0 MB, 1.5 MB/s"
    assert Ticker("x", "rows", 5).line(0.0) == "x: 0 of 5 rows (0%)"
    assert ticker.line(5.0, before=1_500) == "checking a.jsonl: 2,500 of 10,000 rows (25%), 200 rows/s, about 38 s left"


@pytest.mark.parametrize("loading_at", [1, 2, 3])
def test_a_library_that_is_loaded_at_the_beginning_is_no_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], loading_at: int
) -> None:
    """The first line comes while hardly anything is done: it tells no rate of what took no time and no time left."""
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with Ticker("checking a.jsonl", "rows", 100_000) as ticker:
        for done in range(1, 60_000):
            now += 3.0 if done == loading_at else 0.0002
            ticker.update(done)
    first, second = capsys.readouterr().err.splitlines()
    assert first == f"checking a.jsonl: {loading_at:,} of 100,000 rows (0%)"
    assert second.endswith("about 10 s left") and "5,000 rows/s" in second


def test_slow_steps_have_a_rate_in_the_end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    with Ticker("counting", "rows", 100) as ticker:
        for done in range(1, 11):
            now += 2.5
            ticker.update(done)
    assert capsys.readouterr().err.splitlines()[-1] == "counting: 6 of 100 rows (6%), 0.4 rows/s, about 235 s left"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (12_345_678, "12.3 MB"), (10**15, "1000.0 TB")],
)
def test_bytes_for_people(value: int, text: str) -> None:
    assert format_bytes(value) == text
