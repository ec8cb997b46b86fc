"""Every format in every kind of file: written by other programs, detected, read back as the same conversations."""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlguide.data.example import BadRow, Example, Turn
from rlguide.data.formats.reading import choose_reading
from rlguide.data.readers import json_lines, parquet_rows
from rlguide.data.readers.encodings import Text
from rlguide.data.readers.files import count_rows, expected_rows, open_source
from rlguide.data.readers.parquet_rows import BATCH_BYTES
from rlguide.data.readers.source import plain_stem
from rlguide.errors import DataError
from tests.data.conversations import (
    LABEL_WRITERS,
    WRITERS,
    Writer,
    as_ultrafeedback,
    expected,
    expected_label,
    labels,
    pairs,
)

Rows = list[dict[str, Any]]


def write_array(path: Path, rows: Rows) -> None:
    path.write_text("\ufeff" + json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


def write_lines(path: Path, rows: Rows) -> None:
    path.write_bytes(b"\n".join(json.dumps(row, ensure_ascii=False).encode() for row in rows))


def table_text(rows: Rows, delimiter: str) -> str:
    text = io.StringIO(newline="")
    table = csv.DictWriter(text, rows[0], delimiter=delimiter)
    table.writeheader()
    for row in rows:
        cells = {key: json.dumps(cell) if isinstance(cell, list | dict) else cell for key, cell in row.items()}
        table.writerow(cells)
    return text.getvalue()


def write_csv(path: Path, rows: Rows) -> None:
    path.write_text(table_text(rows, ","), encoding="utf-8-sig", newline="")


def write_tsv(path: Path, rows: Rows) -> None:
    path.write_text(table_text(rows, "\t"), encoding="utf-8", newline="")


def write_parquet(path: Path, rows: Rows) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)


def packed(write: Callable[[Path, Rows], None]) -> Callable[[Path, Rows], None]:
    def write_packed(path: Path, rows: Rows) -> None:
        write(path, rows)
        path.write_bytes(gzip.compress(path.read_bytes(), 1))

    return write_packed


def write_zstd(path: Path, rows: Rows) -> None:
    write_lines(path, rows)
    data = path.read_bytes()
    with pa.output_stream(str(path), compression="zstd") as stream:
        stream.write(data)


FILES: dict[str, Callable[[Path, Rows], None]] = {
    "数 据.json": write_array,
    "rows.jsonl": write_lines,
    "rows.csv": write_csv,
    "rows.tsv": write_tsv,
    "rows.parquet": write_parquet,
    "数 据.json.gz": packed(write_array),
    "rows.jsonl.gz": packed(write_lines),
    "rows.CSV.gz": packed(write_csv),
    "named-so.jsonl": packed(write_lines),  # told by its bytes, not its name
    "rows.jsonl.zst": write_zstd,
}


def read_back(path: Path) -> tuple[str, list[Any]]:
    """The format that a file is found to have, and what is in it."""
    source = open_source(path)
    form = choose_reading([row.value for row in source.rows()], path)
    rows = [row.value for row in source.rows(form.columns) if not row.broken]
    return form.name, [example for row in rows for example in form.to_examples(row)]


def check_files(folder: Path, name: str, rows: Rows, originals: list[Any]) -> None:
    for file, write in FILES.items():
        path = folder / file
        write(path, rows)
        assert read_back(path) == (name, originals), file
        assert count_rows(path) == len(rows)
        assert expected_rows(open_source(path)) in (None, len(rows))


QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=6, deadline=None)


@pytest.mark.parametrize(("name", "writer", "turns"), WRITERS, ids=lambda value: getattr(value, "__name__", None))
@QUICK
@given(data=st.data())
def test_pairs_survive_every_file(name: str, writer: Writer, turns: int, tmp_path: Path, data: st.DataObject) -> None:
    unlike = st.lists(pairs(turns), min_size=1, max_size=4, unique_by=lambda pair: pair.messages[0].value.strip())
    originals = data.draw(unlike)
    check_files(tmp_path, name, [*map(writer, originals)], [expected(writer, pair) for pair in originals])


@pytest.mark.parametrize(("name", "writer", "turns"), LABEL_WRITERS, ids=lambda value: getattr(value, "__name__", None))
@QUICK
@given(data=st.data())
def test_labels_survive_every_file(
    name: str, writer: Callable[[Example], dict[str, Any]], turns: int, tmp_path: Path, data: st.DataObject
) -> None:
    originals = data.draw(st.lists(labels(turns), min_size=1, max_size=4))
    check_files(tmp_path, name, [*map(writer, originals)], [expected_label(writer, row) for row in originals])


BREAKS = [
    ("rows.json.gz", "cut"),
    ("rows.json.gz", "flipped"),
    ("rows.jsonl.gz", "cut"),
    ("rows.jsonl.gz", "flipped"),
    ("rows.csv.gz", "cut"),
    ("rows.csv.gz", "flipped"),
    ("rows.jsonl.zst", "cut"),  # Arrow writes zstd without a checksum: flipped bits may pass, see the next test
]


@pytest.mark.parametrize(("file", "damage"), BREAKS)
def test_a_broken_compressed_file_is_said_in_two_lines(tmp_path: Path, file: str, damage: str) -> None:
    path = tmp_path / file
    rows = [{"prompt": f"q {random.random()}", "chosen": "a", "rejected": "b"} for _ in range(5000)]
    kinds = {"rows.json.gz": packed(write_array), "rows.csv.gz": packed(write_csv), "rows.jsonl.zst": write_zstd}
    kinds.get(file, packed(write_lines))(path, rows)
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + (b"" if damage == "cut" else bytes(64) + whole[middle + 64 :]))
    with pytest.raises(DataError, match=r"is not a complete (gzip|zstd) file") as caught:
        for _ in open_source(path).rows():
            pass
    assert "\n" not in caught.value.what
    assert caught.value.fix


ZSTD_WITH_CHECKSUM = bytes.fromhex(  # two rows, as the program zstd packs them
    "28b52ffd246a1d0200c2030d1290cf01b6a30d580b77075366dacd89ccd294e01e1d42c0bd39a7b3"
    "aeab5dcfb37839a7c3a6b1adb3b81a1c789cd3ab7c71cadb04000011d01d0058614eed014f3130de"
)


def test_a_flipped_bit_in_a_zstd_file_with_a_checksum_is_found_or_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.zst"
    path.write_bytes(ZSTD_WITH_CHECKSUM)
    whole = [*open_source(path).rows()]
    assert [row.value["prompt"] for row in whole] == ["2 + 2?", "3 + 3?"]
    found = 0
    bits = range(8 * 4, 8 * len(ZSTD_WITH_CHECKSUM))  # the first four bytes say that it is zstd
    for bit in bits:
        damaged = bytearray(ZSTD_WITH_CHECKSUM)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            assert [*open_source(path).rows()] == whole
        except DataError as error:
            assert "is not a complete zstd file" in error.what
            found += 1
    assert found > 0.9 * len(bits)


@pytest.mark.parametrize(
    ("written", "unit", "positions"),
    [("[{}, {}, {}]\n", "row", [1, 2, 3]), ("[\n{},\n\n{},\n\n{}\n]", "line", [2, 4, 6])],
)
def test_rows_of_a_list_on_one_line_are_counted(tmp_path: Path, written: str, unit: str, positions: list[int]) -> None:
    path = tmp_path / "rows.json"
    path.write_text(written)
    source = open_source(path)
    assert (source.unit, [row.position for row in source.rows()]) == (unit, positions)


@pytest.mark.parametrize("name", ["数 据.json", "数 据.jsonl.gz", "数 据.CSV.GZ", "数 据.parquet", "数 据"])
def test_a_dataset_is_named_without_suffixes(name: str) -> None:
    assert plain_stem(Path("folder") / name) == "数 据"


def test_an_empty_compressed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n"))
    with pytest.raises(DataError, match="is empty"):
        open_source(path)


def test_parquet_within_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet.gz"
    packed(write_parquet)(path, [{"prompt": "q", "chosen": "a", "rejected": "b"}])
    with pytest.raises(DataError, match="compressed again"):
        open_source(path)


@pytest.mark.parametrize("cell", ["[1, 2, 3]", "{x}", '{"a": 1}', '[{"a": 1}]', "[", "[]", '["text"]'])
def test_a_cell_of_text_that_looks_like_json_stays_text(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "rows.csv"
    write_csv(path, [{"prompt": cell, "chosen": cell, "rejected": "b"}])
    assert read_back(path) == ("pair", [Example.pair((Turn("human", cell),), cell, "b")])


def test_a_cell_of_messages_that_is_not_json_is_a_broken_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_csv(path, [{"conversations": "[{'from': 'human'}]", "chosen": "a", "rejected": "b"}])
    (row,) = [row.value for row in open_source(path).rows()]
    good = {**row, "conversations": '[{"from": "human", "value": "q"}]'}
    reading = choose_reading([good, good, row], path)
    assert len(reading.to_examples(good)) == 1
    with pytest.raises(BadRow, match="a message has no text"):
        reading.to_examples(row)
    with pytest.raises(BadRow, match="conversations is not JSON"):
        reading.to_examples({**row, "conversations": "[{'from'"})


def test_a_record_of_several_lines_is_named_by_its_first(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,chosen,rejected\n\n"one\ntwo\n",a,b\nq,"c\nd"\n\nr,e,f\n', encoding="utf-8")
    rows = list(open_source(path).rows())
    assert [row.position for row in rows] == [3, 6, 9]
    assert [bool(row.broken) for row in rows] == [False, True, False]
    path.write_text('prompt,chosen,rejected\nq,a,b\nr,"c\nd,e\n', encoding="utf-8")
    with pytest.raises(DataError, match="in the record from line 3 on"):
        list(open_source(path).rows())


@pytest.mark.parametrize("file", ["rows.csv", "rows.tsv", "rows.csv.gz"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_told_from_the_header(tmp_path: Path, file: str, separator: str) -> None:
    path = tmp_path / file
    rows = [{"prompt": "a, b; c\td", "chosen": "yes;\nyes", "rejected": "no"}]
    text = table_text(rows, separator).encode("utf-8-sig")
    path.write_bytes(gzip.compress(text) if file.endswith(".gz") else text)
    assert [row.value for row in open_source(path).rows()] == rows


def test_blanks_around_names_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt , chosen,\trejected \nq, a,b\n")
    assert [row.value for row in open_source(path).rows()] == [{"prompt": "q", "chosen": " a", "rejected": "b"}]


def test_two_separators_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt;chosen\trejected\n")
    with pytest.raises(DataError, match="semicolons and tabs"):
        list(open_source(path).rows())


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("key", ["data", "pairs", "rows"])
def test_a_list_in_an_object_is_read(tmp_path: Path, key: str, indent: int | None) -> None:
    rows = [{"prompt": f"q {n} {{[", "chosen": "a" * 3000, "rejected": "b"} for n in range(5)]
    path = tmp_path / "rows.json"
    path.write_text("\ufeff" + json.dumps({key: rows}, indent=indent), encoding="utf-8")
    source = open_source(path)
    found = list(source.rows())
    assert [row.value for row in found] == rows
    places = [3, 8, 13, 18, 23] if indent else [1, 2, 3, 4, 5]
    assert [row.position for row in found] == places
    assert source.unit == ("line" if indent else "row")
    assert count_rows(path) == 5
    path.write_text(json.dumps({key: rows, "examples": rows}, indent=indent), encoding="utf-8")
    with pytest.raises(DataError, match=f"several lists of objects: {key}, examples"):
        open_source(path)
    path.write_text(json.dumps({key: rows}, indent=indent)[:-1].rstrip(), encoding="utf-8")
    with pytest.raises(DataError, match=r"ends too early|not complete"):
        list(open_source(path).rows())


@pytest.mark.parametrize("size", [1, 50_000])
def test_a_row_that_begins_with_a_list_is_a_row(tmp_path: Path, size: int) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"items": [{"a": "1" * size}], "prompt": "q", "chosen": "a", "rejected": "b"}] * 2
    write_lines(path, rows)
    assert [row.value for row in open_source(path).rows()] == rows


@pytest.mark.parametrize("end", [",]", ",\n]", ", \n\n ]\n"])
def test_a_comma_too_many_is_read_and_said(tmp_path: Path, end: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[\n{"a": 1},\n{"a": 2}' + end)
    source = open_source(path)
    assert [row[:2] for row in source.rows()] == [(2, {"a": 1}), (3, {"a": 2})]
    assert "commas before a closing bracket" in source.notes[0]


PAIR = Example.pair((Turn("human", "q"),), "a", "b", "", (2.0, 1.0))
MESSAGE = pa.struct([("content", pa.string()), ("role", pa.string())])


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (pa.large_string(), pa.large_list(MESSAGE)),
        (pa.dictionary(pa.int32(), pa.string()), pa.list_(pa.map_(pa.string(), pa.string()))),
        (pa.string(), pa.list_(MESSAGE, 2)),
    ],
    ids=["large", "dictionary and map", "fixed size"],
)
def test_every_arrow_type_is_read(tmp_path: Path, text: Any, messages: Any) -> None:
    row = as_ultrafeedback(PAIR)
    columns = {
        "prompt": pa.array([row["prompt"]] * 3, text if pa.types.is_large_string(text) else pa.string()).cast(text),
        "chosen": as_type(row["chosen"], messages),
        "rejected": as_type(row["rejected"], messages),
        "score_chosen": pa.array([2.0] * 3, pa.float32()),
        "score_rejected": pa.array([1] * 3, pa.int64()),
        "extra": pa.array([b"\xff"] * 3, pa.binary()),
    }
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(columns), path)
    assert read_back(path) == ("pair", [PAIR] * 3)


def as_type(messages: list[dict[str, str]], kind: Any) -> Any:
    maps = pa.types.is_map(kind.value_type)
    return pa.array([[list(message.items()) if maps else message for message in messages]] * 3, kind)


def test_only_the_wanted_columns_of_parquet_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(path, [as_ultrafeedback(PAIR)] * 3)
    source = open_source(path)
    wanted = ("prompt", "chosen", "rejected", "score_chosen", "score_rejected")
    keys = {"prompt", "chosen", "rejected", "score_chosen", "score_rejected"}
    assert [set(row.value) for row in source.rows(wanted)] == [keys] * 3
    assert [row.position for row in source.rows(wanted)] == [1, 2, 3]
    assert [set(row.value) for row in source.rows(["none of them"])] == [{"prompt"}] * 3  # refused, not lost


def test_large_rows_come_a_few_at_a_time(tmp_path: Path) -> None:
    """One row group with rows of a megabyte: what is read ahead is bounded by bytes, not rows."""
    path = tmp_path / "rows.parquet"
    rng = random.Random(0)
    rows = [{"prompt": rng.randbytes(500_000).hex(), "chosen": "a", "rejected": "b"} for _ in range(40)]
    pq.write_table(pa.Table.from_pylist(rows), path, use_dictionary=False, write_batch_size=1)
    del rows
    before = pa.total_allocated_bytes()
    peak = 0
    for row in open_source(path).rows(["prompt"]):
        assert len(row.value["prompt"]) == 1_000_000
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert peak < 4 * BATCH_BYTES


@pytest.mark.parametrize("at_once", [1, parquet_rows.OBJECT_BYTES])
def test_a_parquet_text_that_is_not_utf8_is_one_broken_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(parquet_rows, "OBJECT_BYTES", at_once)
    path = tmp_path / "rows.parquet"
    bad = pa.Array.from_buffers(pa.string(), 3, pa.array([b"ok", b"\xff\xfe", b"yes"]).buffers())
    pq.write_table(pa.table({"prompt": bad, "chosen": ["a"] * 3, "rejected": ["b"] * 3}), path)
    rows = list(open_source(path).rows())
    assert [row.position for row in rows] == [1, 2, 3]
    assert [row.broken for row in rows] == ["", "not UTF-8", ""]


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize("text", ["{}\n{}\n", "{}\n\n{}", '{"a": "b"}\n'])
def test_lines_are_counted_however_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, block: int
) -> None:
    monkeypatch.setattr(json_lines, "BLOCK", block)
    path = tmp_path / "rows.jsonl"
    path.write_text(text)
    assert json_lines.count_lines(Text(path)) == len(text.splitlines())
