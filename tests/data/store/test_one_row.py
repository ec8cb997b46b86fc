"""One stored row, of whatever dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlguide.data.example import Turn
from rlguide.data.ingest.options import IngestOptions
from rlguide.data.ingest.register import register_path
from rlguide.data.ingest.views import view
from rlguide.data.store.dataset_info import Entry, change_registry
from rlguide.data.store.one_row import read_row
from rlguide.data.store.reading import read_examples
from rlguide.errors import DataError, UsageError
from rlguide.workspace import Workspace


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """300 pairs of which 30 are held out."""
    ws = Workspace(tmp_path)
    rows = [{"prompt": f"问 {n}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(300)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    register_path(ws, tmp_path / "p.jsonl", IngestOptions("pairs", test_size=0.1))
    return ws


def foreign(ws: Workspace, rows: list[dict[str, Any]], **entry: Any) -> None:
    (ws.data / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    made: Entry = {"file_name": "rows.jsonl", **entry}
    change_registry(ws, {"theirs": made})


@pytest.mark.parametrize("heldout", [False, True])
@pytest.mark.parametrize("name", ["pairs", "pairs_kto"])
def test_each_row_is_the_one_that_reading_gives(ws: Workspace, name: str, heldout: bool) -> None:
    view(ws, "pairs", "kto")
    there = list(read_examples(ws, f"{name}_test" if heldout else name))
    for number in (1, 2, len(there), -1, -len(there)):
        row = read_row(ws, name, number, heldout)
        at = number - 1 if number > 0 else number
        assert (row.example, row.rows) == (there[at], len(there))
        assert row.number == (number if number > 0 else len(there) + 1 + number)
        assert row.heldout_of == (name if heldout else None)
    for number in (0, len(there) + 1, -len(there) - 1):
        with pytest.raises(UsageError):
            read_row(ws, name, number, heldout)


def test_small_row_groups_and_a_folder_of_files(ws: Workspace) -> None:
    folder = ws.data / "parts"
    folder.mkdir()
    for part in range(3):
        numbers = range(part * 10, part * 10 + 10)
        table = pa.table({key: [f"{key} {n}" for n in numbers] for key in ("instruction", "chosen", "rejected")})
        pq.write_table(table, folder / f"{part}.parquet", row_group_size=3)
    columns = {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"}
    change_registry(ws, {"theirs": {"file_name": "parts", "ranking": True, "columns": columns}})
    for number in range(1, 31):
        row = read_row(ws, "theirs", number)
        assert row.example.chosen == f"chosen {number - 1}" == read_row(ws, "theirs", number - 31).example.chosen
        assert row.number == number and row.file.name == f"{(number - 1) // 10}.parquet"


@pytest.mark.parametrize("use", ["sft", "ppo"])
def test_a_view_shows_the_prompt_with_the_chosen_response(ws: Workspace, use: str) -> None:
    view(ws, "pairs", use)  # type: ignore[arg-type]
    shown, pair = read_row(ws, f"pairs_{use}", 7), read_row(ws, "pairs", 7)
    assert (shown.example.messages, shown.example.responses) == (pair.example.messages, (pair.example.chosen,))
    assert read_row(ws, f"pairs_{use}", 3, heldout=True).dataset == f"pairs_{use}_test"


@pytest.mark.parametrize("number", [2, -1])
def test_data_of_others_for_sft(ws: Workspace, number: int) -> None:
    columns = {"prompt": "q", "query": "more", "response": "a", "system": "s", "history": "h"}
    row = {"q": "And now?", "more": "Say.", "a": "Now.", "s": "Be brief.", "h": [["Hi", "Ho"]]}
    foreign(ws, [{**row, "a": "x"}, row], columns=columns)
    example = read_row(ws, "theirs", number).example
    assert [turn.value for turn in example.messages] == ["Hi", "Ho", "And now?\nSay."]
    assert (example.responses, example.system) == (("Now.",), "Be brief.")
    said = [{"role": role, "content": role} for role in ("system", "user", "assistant")]
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    foreign(ws, [{"m": said[:2]}, {"m": said}], formatting="sharegpt", columns={"messages": "m"}, tags=tags)
    example = read_row(ws, "theirs", number).example
    assert example.messages == (Turn("human", "user"),)
    assert (example.responses, example.system) == (("assistant",), "system")
    assert read_row(ws, "theirs", 1).example.responses == ()


def test_rows_that_hold_no_example_are_counted_and_told(ws: Workspace) -> None:
    rows = [{"instruction": f"q{n}", "chosen": "y", "rejected": "n" if n != 1 else "y"} for n in range(3)]
    foreign(ws, rows, ranking=True, columns={"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"})
    assert read_row(ws, "theirs", 3).example.messages[0].value == "q2"
    with pytest.raises(DataError, match="row 2 of theirs cannot be shown: chosen equals rejected"):
        read_row(ws, "theirs", 2)
    with pytest.raises(UsageError, match="theirs has 3 rows, and row 4 is asked for"):
        read_row(ws, "theirs", 4)
    with pytest.raises(UsageError, match="holds nothing out"):
        read_row(ws, "theirs", 1, heldout=True)


def test_a_damaged_file_is_told(ws: Workspace) -> None:
    path = ws.data / "pairs.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError):
        read_row(ws, "pairs", 1)
