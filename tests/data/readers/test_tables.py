"""Tables: CSV in every dialect, Excel, Arrow; with and without a line that names the columns."""

from __future__ import annotations

import csv
import datetime
import io
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.readers import arrow_rows, xlsx_rows
from rlguide.data.readers.files import count_rows, open_source
from rlguide.data.readers.header import has_names
from rlguide.data.readers.source import ReadOptions
from rlguide.errors import UsageError
from tests.data.readers.reading import COLUMNS, QUICK, read, refused, rows, survives, values, write

PAIRS = [{"prompt": f"Name tree {n}.", "chosen": f"Oak {n}.", "rejected": f"Stone {n}."} for n in range(3)]
Rows = list[dict[str, Any]]


def table(found: Rows, delimiter: str = ",", header: bool = True) -> str:
    text = io.StringIO(newline="")
    written = csv.DictWriter(text, COLUMNS, delimiter=delimiter)
    if header:
        written.writeheader()
    written.writerows(found)
    return text.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a"])
@QUICK
@given(found=rows, mark=st.booleans())
def test_what_csv_writes_reads_back(tmp_path: Path, delimiter: str, name: str, found: Rows, mark: bool) -> None:
    if not name.endswith("sv"):
        found = [{key: cell.replace("\0", "") for key, cell in row.items()} for row in found]
    text = (f"sep={delimiter}\r\n" if mark else "") + table(found, delimiter)
    if not mark or name in ("a.csv", "a.tsv"):
        assert values(write(tmp_path / name, text)) == found


@QUICK
@given(found=rows)
def test_what_pandas_writes_reads_back(tmp_path: Path, found: Rows) -> None:
    # With its index, a column without a name; it does not quote a carriage return.
    found = [{key: cell.replace("\r", " ") for key, cell in row.items()} for row in found]
    pd.DataFrame(found).to_csv(tmp_path / "a.csv")
    assert values(tmp_path / "a.csv") == [{"": str(n), **row} for n, row in enumerate(found)]


def test_numbers_that_pandas_writes_for_names_are_no_row(tmp_path: Path) -> None:
    pd.DataFrame([["q", "a", "b"]]).to_csv(tmp_path / "a.csv", index=False)
    assert values(tmp_path / "a.csv") == [{"0": "q", "1": "a", "2": "b"}]
    named = ReadOptions(header="prompt,chosen,rejected")
    assert values(tmp_path / "a.csv", named) == [{"prompt": "q", "chosen": "a", "rejected": "b"}]


def test_excels_empty_columns_do_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "sep=;\r\nprompt;chosen;rejected;;\r\nq;a;b;;\r\nr;c;d;;;\r\ns;e;f;x;\r\n")
    found = list(open_source(path).rows())
    assert [row.value for row in found[:2]] == [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": "r", "chosen": "c", "rejected": "d"},
    ]
    assert [row.position for row in found] == [3, 4, 5] and found[2].broken


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    what, fix = refused(write(tmp_path / "a.csv", "prompt,chosen,rejected,chosen\nq,a,b,c\n"))
    assert "more than one column is called chosen" in what and "name of its own" in fix


def test_a_table_without_names_is_refused_until_they_are_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "best one\tmiddle one\tworst one\nbest two\tmiddle two\tworst two\n")
    what, fix = refused(path)
    assert "has no header line: its first line is 'best one', 'middle one', 'worst one'" in what
    source, found = read(path, ReadOptions(header=fix.partition("--header ")[2]))
    assert found[0] == {"prompt": "best one", "chosen": "middle one", "rejected": "worst one"} and len(found) == 2
    assert "as --header says" in source.notes[0]
    assert "has 3 columns, and --header names 2" in refused(path, ReadOptions(header="a,b"))[0]
    with_names = write(tmp_path / "b.tsv", "prompt\tchosen\trejected\nq\ta\tb\n")
    assert "has a header line" in refused(with_names, ReadOptions(header="Prompt,chosen,rejected"))[0]


@QUICK
@given(found=rows, delimiter=st.sampled_from([",", "\t"]))
def test_header_names_the_columns_of_any_table(tmp_path: Path, found: Rows, delimiter: str) -> None:
    path = write(tmp_path / "a.tsv", table(found, delimiter, header=False))
    wide = ReadOptions(header="a,b,c")
    if not any(sign in cell for cell in found[0].values() for sign in ",;\t|\r\n"):
        assert [[*row.values()] for row in values(path, wide)] == [[*row.values()] for row in found]


@pytest.mark.parametrize(
    "cells",
    [
        *(["prompt", "chosen", "rejected"], ["Question", "Response A", "Which is better?"], ["", "q", "a"]),
        *(["问题", "好的回答", "坏的回答"], ["query_1", "pos (human)", "neg (model)"], ["id", "text", "0", "1"]),
        *(["a", "b"], ["text"], ["Human rating", "Best answer", "Worst answer"], ["x-1", "y.2"]),
    ],
)  # fmt: skip
def test_lines_of_names(cells: list[str]) -> None:
    assert has_names(cells)


@pytest.mark.parametrize(
    "cells",
    [
        *(["best one", "middle one", "worst one"], ["1", "2.5", "-3"], ["What is a tree?", "A plant.", "A stone."]),
        *(["good", "I am fine, thank you.", "Go away."], ["说出一种树。", "橡树。", "石头。"], ["x" * 80, "y" * 80]),
        *(['[{"role": "user"}]', '{"a": 1}'], ["Name the tallest tree of the whole wide world", "it is that one"]),
    ],
)  # fmt: skip
def test_lines_of_data(cells: list[str]) -> None:
    assert not has_names(cells)


@pytest.mark.parametrize("header", ["a,,b", "a,a", "", ","])
def test_names_that_cannot_be(header: str) -> None:
    with pytest.raises(UsageError, match="a name of its own"):
        ReadOptions(header=header).check()


@QUICK
@given(data=st.data(), new=st.sampled_from([b'"', b"\0", b"\r", b"\n", b"\xff", b",", b";", b"\t"]))
def test_damaged_tables_are_never_a_traceback(tmp_path: Path, data: st.DataObject, new: bytes) -> None:
    whole = table(PAIRS).encode()
    survives(tmp_path / "a.csv", whole, data.draw(st.integers(0, len(whole))), new)


# Excel

cells = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn"]), min_size=1, max_size=20)
scores = st.integers(-(10**9), 10**9) | st.booleans()
scored = st.tuples(cells, cells, scores).map(lambda row: dict(zip(["prompt", "chosen", "score"], row, strict=True)))


def sheet(path: Path, *sheets: list[list[Any]]) -> Path:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, content in enumerate(sheets, start=1):
        page = book.create_sheet(f"Sheet {number}")
        for line in content:
            page.append(line)
    book.save(path)
    return path


@QUICK
@given(found=st.lists(scored, min_size=1, max_size=5))
def test_what_openpyxl_writes_reads_back(tmp_path: Path, found: Rows) -> None:
    found = [{key: f" {cell}" if str(cell)[0] == "=" else cell for key, cell in row.items()} for row in found]
    path = sheet(tmp_path / "a.xlsx", [["prompt", "chosen", "score"], *([*row.values()] for row in found)])
    source, read_back = read(path)
    assert read_back == found and source.kind == "Excel"


def test_cells_of_excel_are_what_json_has(tmp_path: Path) -> None:
    day = datetime.datetime(2026, 1, 2)
    rows = [["prompt", "score", "date"], ["q", 4.0, day], [], [None, 0.5, day.replace(hour=3)], ["r", None, None]]
    path = sheet(tmp_path / "a.xlsx", rows, [])
    source, found = read(path)
    assert found == [
        {"prompt": "q", "score": 4, "date": "2026-01-02"},
        {"prompt": None, "score": 0.5, "date": "2026-01-02T03:00:00"},
        {"prompt": "r", "score": None, "date": None},
    ]
    assert isinstance(found[0]["score"], int) and [row.position for row in source.rows()] == [2, 4, 5]
    assert source.notes == ("read the sheet Sheet 1; the others are empty",)


def test_sheets_are_not_chosen_silently(tmp_path: Path) -> None:
    several = sheet(tmp_path / "a.xlsx", *[[["prompt", "chosen"], ["q", "a"]]] * 12)
    what, fix = refused(several)
    assert "several sheets with data: Sheet 1, Sheet 2" in what and "and 2 more" in what and fix
    assert "is empty: no sheet has a cell" in refused(sheet(tmp_path / "b.xlsx", []))[0]
    bare = sheet(tmp_path / "c.xlsx", [["What is a tree?", "A plant.", "A stone."], ["And a bird?", "An animal.", "A"]])
    what, fix = refused(bare)
    assert "has no header line" in what
    assert len(values(bare, ReadOptions(header=fix.partition("--header ")[2]))) == 2


def test_excel_without_openpyxl_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sheet(tmp_path / "a.xlsx", [["prompt"], ["q"]])
    monkeypatch.setattr(xlsx_rows, "find_spec", lambda _: None)
    what, fix = refused(path)
    assert "openpyxl, which reads it, is not installed" in what and "install" in fix and "openpyxl" in fix


@QUICK
@given(data=st.data(), new=st.binary(min_size=1, max_size=3))
def test_a_damaged_workbook_is_never_a_traceback(tmp_path: Path, data: st.DataObject, new: bytes) -> None:
    whole = sheet(tmp_path / "a.xlsx", [[*COLUMNS], *([*row.values()] for row in PAIRS)]).read_bytes()
    survives(tmp_path / "a.xlsx", whole, data.draw(st.integers(0, len(whole))), new)


# Arrow


@QUICK
@given(found=rows)
def test_what_datasets_saves_reads_back(tmp_path_factory: pytest.TempPathFactory, found: Rows) -> None:
    folder = tmp_path_factory.mktemp("saved")
    datasets.Dataset.from_list(found).save_to_disk(folder)
    (file,) = folder.glob("*.arrow")
    assert values(file) == found and count_rows(file) == len(found)
    for name, new in (("a.arrow", pa.ipc.new_file), ("a.feather", pa.ipc.new_file), ("a", pa.ipc.new_stream)):
        written = pa.Table.from_pylist(found)
        with new(str(folder / name), written.schema) as sink:
            sink.write_table(written, max_chunksize=2)
        assert values(folder / name) == found
        assert [set(row.value) for row in open_source(folder / name).rows(["chosen", "x"])] == [{"chosen"}] * len(found)


def test_a_stream_that_is_cut_between_batches_is_not_whole(tmp_path: Path) -> None:
    written = pa.Table.from_pylist(PAIRS)
    with pa.ipc.new_stream(str(tmp_path / "a.arrow"), written.schema) as sink:
        sink.write_table(written)
    whole = (tmp_path / "a.arrow").read_bytes()
    what, fix = refused(write(tmp_path / "a.arrow", whole[: -len(arrow_rows.END_OF_STREAM)]))
    assert "is cut short" in what and "again" in fix


def test_a_large_batch_comes_a_few_rows_at_a_time(tmp_path: Path) -> None:
    written = pa.table({"prompt": ["x" * 1_000_000] * 40})
    with pa.ipc.new_file(str(tmp_path / "a.arrow"), written.schema) as sink:
        sink.write_table(written)
    del written
    before, peak = pa.total_allocated_bytes(), 0
    for row in open_source(tmp_path / "a.arrow").rows():
        assert len(row.value["prompt"]) == 1_000_000
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 1 << 20, "the file is mapped, and only some rows are Python objects"


@pytest.mark.parametrize("new_writer", [pa.ipc.new_file, pa.ipc.new_stream])
@QUICK
@given(data=st.data(), new=st.binary(min_size=1, max_size=8))
def test_a_damaged_arrow_file_is_never_a_traceback(
    tmp_path: Path, new_writer: Any, data: st.DataObject, new: bytes
) -> None:
    written = pa.Table.from_pylist([{**row, "list": [{"role": "user"}], "n": 1} for row in PAIRS])
    with new_writer(str(tmp_path / "x"), written.schema) as sink:
        sink.write_table(written)
    whole = (tmp_path / "x").read_bytes()
    survives(tmp_path / "a.arrow", whole, data.draw(st.integers(0, len(whole))), new)
