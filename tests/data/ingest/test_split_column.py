"""A column that says the split: whatever it holds is taken, named on screen, or asked about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlguide.data.ingest.split_column import SplitColumn, split_column
from rlguide.data.readers.files import open_source
from rlguide.data.readers.source import ReadOptions
from rlguide.data.sources.selection import FileSelection
from rlguide.errors import UsageError


def of(tmp_path: Path, *values: Any, **wanted: Any) -> SplitColumn | None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": "q", "split": value}) + "\n" for value in values))
    return split_column(open_source(path, ReadOptions()), "split", FileSelection(**wanted))


@pytest.mark.parametrize("values", [("train", "test"), ("Train ", "Test"), ("训练", "测试"), ("训练集", "验证集")])
def test_names_of_splits(tmp_path: Path, values: tuple[str, str]) -> None:
    found = of(tmp_path, *values, values[0])
    assert found is not None
    assert (found.train, found.heldout) == (values[0].strip(), values[1])


def test_rows_without_a_split_are_named(tmp_path: Path) -> None:
    found = of(tmp_path, "train", None, "train", float("nan"))
    assert found is not None and found.heldout is None
    assert str(found).endswith("2 rows of train; not taken: 2 of (empty)")


def test_numbers_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="values 0, 1, and it is not clear"):
        of(tmp_path, 0, 1, 0)


def test_a_split_that_is_named_leaves_the_others_out(tmp_path: Path) -> None:
    found = of(tmp_path, "x", "y", "x", split="x")
    assert found is not None
    assert str(found).endswith("2 rows of x; not taken: 1 of y")
    assert of(tmp_path, "x", "test", split="x").heldout == "test"  # type: ignore[union-attr]
