"""The file of earlier prompts."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rlguide.serving.chat import history


def prompts() -> list[str]:
    return list(history.open_history().load_history_strings())


def test_it_is_bounded_and_private_and_keeps_the_newest(home: Path) -> None:
    file = history.history_file()
    file.parent.mkdir(parents=True)
    file.write_bytes(b"".join(b"\n# time\n+prompt %d\n+line\n" % number for number in range(5000)))
    file.chmod(0o644)
    found = prompts()
    assert found[0] == "prompt 4999\nline" and len(found) == history.MOST // 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"\n# time\n+" + b"x" * 3_000_000 + b"\n\n# time\n+last\n")
    assert prompts() == ["last"]
    assert file.stat().st_size < 100


def test_what_is_too_long_is_not_kept(home: Path) -> None:
    opened = history.open_history()
    opened.store_string("x" * (history.LONGEST + 1))
    opened.store_string("short 你好")
    assert prompts() == ["short 你好"]


@pytest.mark.parametrize("damage", ["folder", "binary", "no folder"])
def test_a_file_that_cannot_be_used_costs_only_itself(home: Path, damage: str) -> None:
    file = history.history_file()
    file.parent.mkdir(parents=True)
    if damage == "folder":
        file.mkdir()
    elif damage == "binary":
        file.write_bytes(os.urandom(5000))
    else:
        file.parent.rmdir()
        file.parent.write_text("a file where the folder should be")
    opened = history.open_history()
    list(opened.load_history_strings())
    opened.store_string("x")
