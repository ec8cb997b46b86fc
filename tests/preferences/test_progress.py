from __future__ import annotations

import pytest

from rlguide.preferences.progress import Ticker, format_bytes


def test_a_plain_line_has_amount_share_rate_and_time_left() -> None:
    ticker = Ticker("checking a.jsonl", "rows", 10_000)
    ticker.done = 2_500
    assert ticker.line(5.0) == "checking a.jsonl: 2,500 of 10,000 rows (25%), 500 rows/s, about 15 s left"
    unknown = Ticker("fetching x", "bytes", None)
    unknown.done = 3_000_000
    assert unknown.line(2.0) == "fetching x: 3.0 MB, 1.5 MB/s"
    assert Ticker("x", "rows", 5).line(0.0) == "x: 0 of 5 rows (0%), 0 rows/s"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_960, "1.0 MB"), (12_345_678, "12.3 MB"), (10**15, "1000.0 TB")],
)
def test_bytes_for_people(value: int, text: str) -> None:
    assert format_bytes(value) == text
