"""JSON as people write it: read where it can mean one thing, said, and refused or broken where it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.readers.files import open_source
from rlguide.data.readers.relaxed_json import COMMAS, COMMENTS, CONTROLS, INNER, PYTHON, loads, strict_json
from tests.data.readers.reading import COLUMNS, QUICK, read, rows, survives, write

FOUND = [
    {"prompt": f"Name tree {n}, // please # /* */", "chosen": 'it\'s ,] "Oak"', "rejected": None} for n in range(3)
]
ONE = [json.dumps(row) for row in FOUND]
NL = "\n"
SLIPS: dict[str, tuple[str, str]] = {
    "a comma at the end of the list": (f"[{','.join(ONE)},]", COMMAS),
    "commas in objects": (f"[{','.join(one[:-1] + ',}' for one in ONE)}]", COMMAS),
    "comments in a list": (f"// pairs{NL}[{NL}# first{NL}{f',{NL}'.join(ONE)} /* end */{NL}]", COMMENTS),
    "a comment after the comma": (f"[{','.join(ONE)}, // more to come{NL}]", COMMAS),
    "comments between lines": (NL.join(["// made by hand", ONE[0], "# two", *ONE[1:], ""]), COMMENTS),
    "commas in lines": (NL.join(one[:-1] + ",}" for one in ONE), COMMAS),
    "Python, one a line": (NL.join(map(repr, FOUND)), PYTHON),
    "a list of Python": (repr(FOUND), PYTHON),
    "zero bytes between lines": ("\0\0".join(one + NL for one in ONE), CONTROLS),
    "zero bytes at the end": (NL.join(ONE) + NL + "\0" * 500, CONTROLS),
    "two objects in a line": (f"{ONE[0]}{ONE[1]}{NL}{ONE[2]}{NL}", "several objects in a line"),
    "a comma after each line": (f",{NL}".join(ONE) + f",{NL}", "commas between the objects"),
    "pretty with comments": (NL.join("// next" + NL + json.dumps(row, indent=1) for row in FOUND), COMMENTS),
}  # fmt: skip


@pytest.mark.parametrize("slip", SLIPS)
def test_slips_are_read_and_said(slip: str, tmp_path: Path) -> None:
    text, said = SLIPS[slip]
    source, found = read(write(tmp_path / "a.jsonl", text))
    assert found == FOUND
    assert said in " ".join(source.notes)


@pytest.mark.parametrize("slip", SLIPS)
@QUICK
@given(
    data=st.data(),
    new=st.sampled_from([b"'", b'"', b"//", b"/*", b"#", b",", b"\0", b"\xff", b"]", b"}", b"\\", b"\n"]),
)
def test_damaged_slips_are_never_a_traceback(slip: str, tmp_path: Path, data: st.DataObject, new: bytes) -> None:
    whole = SLIPS[slip][0].encode()
    survives(tmp_path / "a.json", whole, data.draw(st.integers(0, len(whole))), new)


def test_a_tab_in_a_text_is_one(tmp_path: Path) -> None:
    row = '{"prompt": "a\tb", "chosen": "c", "rejected": "d"}\n'
    source, found = read(write(tmp_path / "a.jsonl", row * 2))
    assert found == [{"prompt": "a\tb", "chosen": "c", "rejected": "d"}] * 2 and INNER in source.notes[0]


@QUICK
@given(found=rows)
def test_strict_json_is_left_as_it_is(found: list[dict[str, Any]]) -> None:
    for indent in (None, 2):
        text = json.dumps(found, ensure_ascii=False, indent=indent)
        assert strict_json(text) == (text, frozenset())


@QUICK
@given(found=rows)
def test_every_repr_of_python_is_read(found: list[dict[str, Any]]) -> None:
    value = [{**row, "n": None, "yes": True, "nested": [1, {"a": row["prompt"]}]} for row in found]
    assert loads(repr(value))[0] == value


@pytest.mark.parametrize(
    "line",
    [
        '{"prompt": "q", "chosen": "cut',
        '{"prompt": "q" "chosen": "a"}',
        '{"prompt": "he said "hi" to me", "chosen": "a"}',
        "{'prompt': 'it's', 'chosen': 'a'}",
        "{'prompt': __import__('os'), 'chosen': 'a'}",
        '{"prompt": "q",, "chosen": "a"}',
        '{prompt: "q"}',
    ],
)
def test_what_is_damaged_stays_broken(tmp_path: Path, line: str) -> None:
    good = '{"prompt": "q", "chosen": "a", "rejected": "b"}'
    found = list(open_source(write(tmp_path / "a.jsonl", "\n".join([good] * 3 + [line, good + ",}"[:0], ""]))).rows())
    assert [row.broken for row in found] == ["", "", "", "not JSON", ""]


def test_a_broken_text_is_read_in_linear_time() -> None:
    for text in ('\\"' * 300_000, "'" * 300_001, "/*" * 300_000, "//" * 300_000, ", " * 300_000, '"' * 300_001):
        try:
            loads("[" + text)
        except (ValueError, RecursionError):
            pass


def test_slips_deep_in_a_file_are_broken_rows(tmp_path: Path) -> None:
    """They are looked for in the first megabyte; what comes later is an error as before, not a surprise."""
    row = json.dumps(dict.fromkeys(COLUMNS, "x" * 1000)) + "\n"
    found = list(open_source(write(tmp_path / "a.jsonl", row * 500 + row[:-2] + ",}\n")).rows())
    assert [row.broken for row in found[-2:]] == ["", "not JSON"]
