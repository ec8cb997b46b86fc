"""Which stage of scripts/check runs a test is said by its marker."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


def test_what_drives_the_engine_says_so() -> None:
    """Without it, a file would train beside the fast tests, and scripts/check would not find it for its own stage."""
    files = list((TESTS / "e2e").glob("test_*.py"))
    assert files
    assert [path.name for path in files if "mark.engine" not in path.read_text(encoding="utf-8")] == []
