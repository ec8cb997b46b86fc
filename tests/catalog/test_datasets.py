from __future__ import annotations

import pytest
import yaml

from rlguide.catalog import datasets
from rlguide.catalog.datasets import find_dataset, load_datasets
from rlguide.errors import UsageError


def test_the_sizes_are_those_of_the_cards() -> None:
    """Dataset cards and arXiv 2504.05535; other guides say 100k for Orca and 10k for COIG-P."""
    known = load_datasets()
    rows = {name: (dataset.rows, dataset.heldout_rows) for name, dataset in known.items()}
    assert rows == {
        "ultrafeedback": (61_135, 2_000),
        "orca_dpo": (12_859, None),
        "dpo_en_zh": (20_000, None),
        "coig_p": (1_006_000, None),
    }
    assert "100k" in (known["orca_dpo"].wrong or "")
    assert "10k" in (known["coig_p"].wrong or "")


def test_every_dataset_says_where_its_facts_are_from() -> None:
    for dataset in load_datasets().values():
        stated = " ".join(dataset.sources)
        assert "rows" in stated or "pairs" in stated
        assert "licence" in stated
        assert dataset.languages and dataset.purpose and dataset.hub_id.count("/") == 1
        assert dataset.modelscope_id is None or dataset.modelscope_id.count("/") == 1
        assert all(part.train for part in dataset.parts)


def test_a_held_out_split_has_rows_and_files_or_neither() -> None:
    for dataset in load_datasets().values():
        assert bool(dataset.heldout_rows) == any(part.heldout for part in dataset.parts)


def test_both_loaders_of_yaml_read_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = load_datasets()
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert datasets.load_datasets() == fast


def test_names_are_found_however_they_are_typed() -> None:
    assert find_dataset("DPO-En-Zh").name == "dpo_en_zh"
    with pytest.raises(UsageError, match="did you mean coig_p"):
        find_dataset("coig_q")
