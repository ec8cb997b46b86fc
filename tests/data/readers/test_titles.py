"""Tables whose first line is no line of names, and JSON with line breaks in its texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlguide.data.readers.files import open_source
from rlguide.errors import DataError


@pytest.mark.parametrize("first", ["My pairs of 2026;;", "My pairs of 2026"])
def test_a_title_above_the_names_is_told(tmp_path: Path, first: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{first}\nprompt;chosen;rejected\nWhy?;So.;No.\n")
    with pytest.raises(DataError, match="'My pairs of 2026', which is a title") as caught:
        open_source(path)
    assert "--header" not in caught.value.fix


def test_a_workbook_is_known_by_its_content(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (("prompt", "chosen", "rejected"), ("Why?", "So.", "No.")):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    path = (tmp_path / "a.xlsx").rename(tmp_path / "a.xls")
    assert [row.value for row in open_source(path).rows()] == [{"prompt": "Why?", "chosen": "So.", "rejected": "No."}]


def test_a_line_break_inside_of_quotes_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[\n{"prompt": "Why\nnot?", "chosen": "So.", "rejected": "No."}\n]')
    with pytest.raises(DataError, match=r"a line break or a tab inside of quotes, which JSON writes as .*, at line 2"):
        list(open_source(path).rows())
