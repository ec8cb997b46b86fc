"""Every layout that rows have in a JSON file: what other programs write comes back equal, small and streamed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.readers import json_rows
from rlguide.data.readers.files import count_rows, open_source
from rlguide.data.readers.source import ReadOptions
from tests.data.readers.reading import QUICK, read, refused, rows, survives, values, write

PAIRS = [{"prompt": f"Name tree {n}.", "chosen": f"Oak {n}.", "rejected": f"Stone {n}."} for n in range(3)]
Rows = list[dict[str, Any]]


def pandas(orient: str) -> Callable[[Rows], str]:
    return lambda found: pd.DataFrame(found).to_json(orient=orient, force_ascii=False)  # type: ignore[call-overload]


def keyed(found: Rows) -> str:
    return json.dumps({f"id_{n}": row for n, row in enumerate(found)}, ensure_ascii=False)


def test_a_character_at_the_edge_of_what_is_looked_at(tmp_path: Path) -> None:
    for shift in range(4):
        found = {"a" * (shift + 1): "字" * 3_000_000, "prompt": "q"}  # 9 MB; the edge is at 4
        assert values(write(tmp_path / "a.json", json.dumps([found], ensure_ascii=False))) == [found]
        assert values(write(tmp_path / "a.json", json.dumps({"id_1": found}, ensure_ascii=False))) == [found]


def joined(separator: str, indent: int | None = None) -> Callable[[Rows], str]:
    return lambda found: separator.join(json.dumps(row, ensure_ascii=False, indent=indent) for row in found)


WRITERS: dict[str, Callable[[Rows], str]] = {
    "pandas columns": pandas("columns"),
    "pandas index": pandas("index"),
    "pandas split": pandas("split"),
    "pandas table": pandas("table"),
    "pandas records": pandas("records"),
    "objects by key": keyed,
    "objects by key, a line each": lambda found: json.dumps({f"q{n}": row for n, row in enumerate(found)}, indent=0),
    "columns as lists": lambda found: json.dumps({key: [row[key] for row in found] for key in found[0]}),
    "in data": lambda found: json.dumps({"version": "1.0", "data": found, "license": {"name": "MIT"}}),
    "in a list of any name": lambda found: json.dumps({"my_pairs": found}),
    "deep": lambda found: json.dumps({"result": {"rows": found, "n": 3}}),
    "viewer": lambda found: json.dumps(
        {"features": [{"name": "x"}], "rows": [{"row_idx": n, "row": row} for n, row in enumerate(found)]}
    ),
    "one a line": joined("\n"),
    "no line breaks": joined(""),
    "spaces": joined("  "),
    "commas": joined(", "),
    "commas and lines": joined(",\n"),
    "pretty": joined("\n", 2),
    "pretty with commas": joined(",\n", 2),
    "record separators": lambda found: "".join(f"\x1e{json.dumps(row)}\n" for row in found),
    "marks in between": joined("\n\ufeff"),
    "lines of old Macs": joined("\r"),
    "lines of Windows": joined("\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize("probe", [json_rows.PROBE, 60])
@QUICK
@given(found=rows)
def test_every_layout_reads_back(layout: str, probe: int, tmp_path: Path, found: Rows) -> None:
    """With a small probe, every file is a large one, whose end is not looked at before it is read."""
    path = write(tmp_path / "a.json", WRITERS[layout](found))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "PROBE", probe)
        if layout == "pandas records" or layout in ("pandas index", "pandas columns"):
            found = json.loads(pandas("records")(found))  # pandas writes some characters in its own way
        if probe < json_rows.PROBE and layout == "viewer":
            return
        assert values(path) == found


@pytest.mark.parametrize("layout", WRITERS)
@QUICK
@given(data=st.data(), new=st.binary(min_size=1, max_size=3))
def test_damage_is_never_a_traceback(layout: str, tmp_path: Path, data: st.DataObject, new: bytes) -> None:
    whole = WRITERS[layout](PAIRS).encode()
    survives(tmp_path / "a.json", whole, data.draw(st.integers(0, len(whole))), new)


@QUICK
@given(train=rows, test=rows, indent=st.sampled_from([None, 2]), probe=st.sampled_from([50, json_rows.PROBE]))
def test_splits_in_one_file_become_a_column(
    tmp_path: Path, train: Rows, test: Rows, indent: int | None, probe: int
) -> None:
    path = write(tmp_path / "a.json", json.dumps({"train": train, "validation": [], "test_prefs": test}, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "PROBE", probe)
        named = [{"split": "train", **row} for row in train] + [{"split": "test_prefs", **row} for row in test]
        assert values(path) == named
    own = write(tmp_path / "b.json", json.dumps({"train": [{"split": "mine", **row} for row in train]}))
    assert [row["split"] for row in values(own)] == ["mine"] * len(train)


def test_what_is_not_used_and_how_it_is_read_is_said(tmp_path: Path) -> None:
    def notes(layout: str) -> str:
        return " ".join(open_source(write(tmp_path / "a.json", WRITERS[layout](PAIRS))).notes)

    assert "not used: version, license" in notes("in data")
    assert "the keys are not used" in notes("objects by key")
    assert "without a line break" in notes("no line breaks")
    assert "do not stand on a line each" in notes("pretty")
    assert "commas between the objects" in notes("commas and lines")
    assert notes("one a line") == notes("lines of Windows") == notes("pandas records") == ""
    path = write(tmp_path / "a.json", json.dumps({"train": PAIRS, "test": PAIRS}))
    assert open_source(path).notes == ("its lists are the splits train, test",)


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "row",
    [
        PAIRS[0],
        {"prompt": [{"role": "user", "content": "q"}], "chosen": [{"role": "assistant", "content": "a"}]},
        {"prompt": {"role": "user", "content": "q"}, "chosen": {"role": "assistant", "content": "a"}},
        {"instruction": "q", "completions": [{"text": "a", "score": 1}, {"text": "b", "score": 2}]},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "label": True},
        {"conversations": [{"from": "human", "value": "q"}], "responses": ["a"], "scores": [1]},
        {"items": [{"a": 1}], "prompt": "q", "chosen": "a", "rejected": "b"},
    ],
)
def test_one_object_may_be_one_row(tmp_path: Path, row: dict[str, Any], indent: int | None) -> None:
    assert values(write(tmp_path / "a.json", json.dumps(row, indent=indent))) == [row]


def test_keyed_rows_and_columns_with_labels_of_text_are_told_apart(tmp_path: Path) -> None:
    frame = pd.DataFrame({"prompt": ["q", "r"], "chosen": ["a", "b"]}, index=["first", "second"])
    found = frame.to_dict("records")
    for orient in ("columns", "index"):
        assert values(write(tmp_path / "a.json", frame.to_json(orient=orient))) == found  # type: ignore[call-overload]
    unknown = frame.rename(columns={"prompt": "x", "chosen": "y"})
    what, fix = refused(write(tmp_path / "a.json", unknown.to_json()))
    assert "not clear whether x, y or first, second are the columns" in what and "orient='records'" in fix
    ragged = {"tree": {"prompt": "q", "chosen": "a"}, "bird": {"prompt": "r", "rejected": "b"}}
    assert values(write(tmp_path / "a.json", json.dumps(ragged))) == list(ragged.values())


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ({"data": PAIRS, "examples": PAIRS}, "several lists of objects: data, examples"),
        ({"prompt": ["a", "b"], "chosen": ["c"]}, "different lengths: prompt 2, chosen 1"),
        ({"error": "Repository not found"}, "error message of a server: Repository not found"),
        ({}, "an empty JSON object"),
        ({f"key{n}": n for n in range(5000)}, "5,000 keys do not all hold objects: key0, key1, "),
        ({"columns": ["a", "a"], "index": [0], "data": [["x", "y"]]}, "more than one column is called a"),
    ],
)
def test_what_can_mean_two_things_or_nothing_is_refused(tmp_path: Path, content: dict[str, Any], what: str) -> None:
    told, fix = refused(write(tmp_path / "a.json", json.dumps(content)))
    assert what in told and fix
    assert len(told) < 400  # never thousands of keys


@pytest.mark.parametrize("layout", ["values", "lines"])
@QUICK
@given(found=rows)
def test_lists_of_values_need_names(layout: str, tmp_path: Path, found: Rows) -> None:
    cells = [[row["prompt"], row["chosen"], row["rejected"]] for row in found]
    text = json.dumps(cells) if layout == "values" else "".join(json.dumps(row) + "\n" for row in [*cells, cells[0]])
    found = found if layout == "values" else [*found, found[0]]
    path = write(tmp_path / "a.json", text)
    what, fix = refused(path)
    assert "without the names of the columns" in what
    header = fix.partition("--header ")[2]
    assert values(path, ReadOptions(header=header)) == found
    assert "has 3 columns, and --header names 2" in refused(path, ReadOptions(header="a,b"))[0]


def test_names_are_not_given_to_what_has_them(tmp_path: Path) -> None:
    for name, text in (("a.jsonl", WRITERS["one a line"](PAIRS)), ("a.json", WRITERS["objects by key"](PAIRS))):
        what, fix = refused(write(tmp_path / name, text), ReadOptions(header="a,b,c"))
        assert "names its columns itself" in what and "leave out --header" in fix


def test_what_must_be_held_in_memory_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "PROBE", 100)
    monkeypatch.setattr(json_rows, "HELD_IN_MEMORY", 1000)
    path = write(tmp_path / "a.json", WRITERS["objects by key"](PAIRS * 100))
    what, fix = refused(path)
    assert "can only be read as a whole" in what and "JSON lines" in fix
    for layout in ("one a line", "no line breaks", "pretty", "in a list of any name", "pandas records"):  # streamed
        assert values(write(path, WRITERS[layout](PAIRS * 100))) == PAIRS * 100


def test_rows_are_counted(tmp_path: Path) -> None:
    for layout, text in WRITERS.items():
        assert count_rows(write(tmp_path / "a.json", text(PAIRS))) == 3, layout


def test_an_object_of_the_viewer_that_was_cut_is_a_broken_row(tmp_path: Path) -> None:
    row = {"row_idx": 0, "row": PAIRS[0], "truncated_cells": ["prompt"]}
    path = write(tmp_path / "a.json", json.dumps({"rows": [row]}))
    assert [row.broken for row in open_source(path).rows()] == ["cut short by the dataset viewer"]


def test_infinity_and_nan_stay_numbers(tmp_path: Path) -> None:
    found = values(write(tmp_path / "a.jsonl", '{"score": NaN}\n{"score": Infinity}\n'))
    assert str(found) == "[{'score': nan}, {'score': inf}]"


def test_positions_are_lines_where_there_are_lines(tmp_path: Path) -> None:
    def places(layout: str) -> tuple[str, list[int]]:
        source, _ = read(write(tmp_path / "a.json", WRITERS[layout](PAIRS)))
        return source.unit, [row.position for row in source.rows()]

    assert places("pretty") == ("line", [1, 6, 11])
    assert places("no line breaks") == ("row", [1, 2, 3])
    assert places("commas and lines") == ("line", [1, 2, 3])
    assert places("objects by key") == ("row", [1, 2, 3])
