"""Labelled responses that all have one label."""

from __future__ import annotations

import pytest

from rlguide.data.store.manifest import DataFile, DataManifest, one_label


def manifest(desirable: int | None, rows: int) -> DataManifest:
    file = DataFile("x", "x.parquet", rows, 1, 1, "", desirable)
    return DataManifest(
        "x", "", "", {}, {}, rows, {}, files=[file, DataFile("x_test", "x_test.parquet", 1, 1, 1, "", 1)]
    )


@pytest.mark.parametrize(
    ("desirable", "rows", "said"),
    [
        (0, 6, "all 6 responses are undesirable"),
        (1200, 1200, "all 1,200 responses are desirable"),
        (0, 1, "the only response is undesirable"),
        (1, 6, ""),
        (5, 6, ""),
        (None, 6, ""),
    ],
)
def test_one_label_alone_is_said(desirable: int | None, rows: int, said: str) -> None:
    sentence = one_label(manifest(desirable, rows))
    assert sentence.startswith(said) and bool(sentence) == bool(said)
    assert ("add desirable" in sentence) == ("undesirable" in said)
