"""Which files are the split that is wanted: by the card, by the usual names, and in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.errors import DataError, UsageError
from rlguide.preferences.card import matching
from rlguide.preferences.splits import Selection, Wanted, files_of_folder, select_files


def select(*paths: str, card: str = "", **wanted: object) -> Selection:
    return select_files("a/b", paths, card, Wanted(**wanted))  # type: ignore[arg-type]


ULTRAFEEDBACK = [
    f"data/{split}-00000-of-00001.parquet"
    for split in ("train_prefs", "train_sft", "train_gen", "test_prefs", "test_sft", "test_gen")
]


@pytest.mark.parametrize(
    ("paths", "train", "heldout"),
    [
        (ULTRAFEEDBACK, ["data/train_prefs-00000-of-00001.parquet"], ["data/test_prefs-00000-of-00001.parquet"]),
        (["orca_rlhf.jsonl", "README.md"], ["orca_rlhf.jsonl"], []),
        (["train.jsonl", "validation.jsonl", "test.jsonl"], ["train.jsonl"], ["test.jsonl"]),
        (["train.csv", "dev.csv", "notes.csv"], ["train.csv"], ["dev.csv"]),
        (["train/0001.parquet", "train/0002.parquet", "test/0001.parquet"], 2, ["test/0001.parquet"]),
        (["default/train/0000.parquet", "default/test/0000.parquet"], ["default/train/0000.parquet"], 1),
        (
            [
                "data/train-00000-of-00002-0123456789abcdef.parquet",
                "data/train-00001-of-00002-89abcdef01234567.parquet",
            ],
            2,
            0,
        ),
        (["pairs.json", "eval.json"], ["pairs.json"], ["eval.json"]),
        (["train.jsonl", "train.parquet"], ["train.parquet"], []),
        (["train.jsonl.gz", "test.jsonl.gz"], ["train.jsonl.gz"], ["test.jsonl.gz"]),
        (["train/chat.jsonl", "test/chat.jsonl"], ["train/chat.jsonl"], ["test/chat.jsonl"]),
        (["part-1.jsonl", "part-2.jsonl"], 2, []),
        (["data/en-train.jsonl", "data/en-test.jsonl"], ["data/en-train.jsonl"], ["data/en-test.jsonl"]),
        ([".cache/train.jsonl", "train.jsonl", "dataset_infos.json"], ["train.jsonl"], []),
        (["train.jsonl", "en/train.jsonl"], ["train.jsonl"], []),
        (["训练.jsonl"], ["训练.jsonl"], []),
    ],
)
def test_usual_layouts(paths: list[str], train: list[str] | int, heldout: list[str] | int) -> None:
    found = select(*paths)
    assert (len(found.train) if isinstance(train, int) else list(found.train)) == train
    assert (len(found.heldout) if isinstance(heldout, int) else list(found.heldout)) == heldout


@pytest.mark.parametrize(
    ("paths", "wanted", "what", "todo"),
    [
        (["dpo_en.json", "dpo_zh.json"], {}, "which of its 2 splits", "--split: dpo_en, dpo_zh"),
        (["en/train.json", "zh/train.json"], {}, "several subsets", "--subset: en, zh"),
        (["train_a.json", "train_b.json"], {}, "which of its 2 splits", "--file: train_a.json, train_b.json"),
        (["train.json"], {"split": "trian"}, "no split trian (did you mean train?)", "--split: train"),
        (["train.json"], {"subset": "en"}, "no subset en", "leave out --subset"),
        (["en/train.json"], {"subset": "fr"}, "no subset fr", "--subset: en"),
        (["train.json", "test.json"], {"heldout_split": "dev"}, "no other split dev", "test, none"),
        (["train.json"], {"files": ("*.csv",)}, "no data file *.csv", "train.json"),
        (["train.json"], {"heldout_split": "train"}, "no other split train", "none"),
    ],
)
def test_what_is_ambiguous_or_missing_lists_what_there_is(
    paths: list[str], wanted: dict[str, object], what: str, todo: str
) -> None:
    with pytest.raises(UsageError) as refused:
        select(*paths, **wanted)
    assert what in refused.value.what and todo in refused.value.todo


def test_no_data_file_at_all() -> None:
    with pytest.raises(DataError, match=r"train\.arrow"):
        select("train.arrow", "load.py")
    with pytest.raises(DataError, match="nothing"):
        select()


CARD = """---
license: mit
configs:
- config_name: zh
  data_files:
    train: zh/*.jsonl
    validation: ["held/zh.jsonl"]
- config_name: en
  default: true
  data_files:
  - split: pairs
    path:
    - en/*.jsonl
    - more/**
  - split: gone
    path: nowhere/*
- config_name: folder
  data_dir: deep
- config_name: plain
  data_files: "zh/a.jsonl"
---
configs: this is text
"""
FILES = [
    "zh/a.jsonl",
    "zh/b.jsonl",
    "held/zh.jsonl",
    "en/c.jsonl",
    "more/x/y/d.jsonl",
    "deep/train.csv",
    "deep/test.csv",
]


def test_the_card_comes_before_the_names() -> None:
    assert select(*FILES, card=CARD).train == ("en/c.jsonl", "more/x/y/d.jsonl")
    chinese = select(*FILES, card=CARD, subset="zh")
    assert (chinese.train, chinese.heldout) == (("zh/a.jsonl", "zh/b.jsonl"), ("held/zh.jsonl",))
    assert select(*FILES, card=CARD, subset="zh", heldout_split="none").heldout == ()
    folder = select(*FILES, card=CARD, subset="folder")
    assert (folder.train, folder.heldout) == (("deep/train.csv",), ("deep/test.csv",))
    assert select(*FILES, card=CARD, subset="plain").train == ("zh/a.jsonl",)
    with pytest.raises(UsageError, match="no split gone"):
        select(*FILES, card=CARD, split="gone")


@pytest.mark.parametrize(
    "card",
    [
        "---\nconfigs: [\n---\n",
        "---\nconfigs: 3\n---\n",
        "---\nconfigs:\n- 7\n- config_name: [x]\n  data_files: 9\n---\n",
        "---\n- a list\n---\n",
        "---\nconfigs:\n- data_files: nowhere.csv\n---\n",
        "---\ndate: 2024-99-99\n---\n",
        "---\nx: !!python/object/apply:os.system ['true']\n---\n",
        "no head",
        "---\n",
    ],
)
def test_a_card_that_says_nothing_leaves_the_names(card: str) -> None:
    assert select("train.jsonl", "test.jsonl", card=card).heldout == ("test.jsonl",)


names = st.text("abXY-_.字 ", min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))


@given(st.lists(st.lists(names, min_size=1, max_size=3).map("/".join), min_size=1, max_size=8))
def test_a_pattern_without_signs_means_itself(paths: list[str]) -> None:
    for path in paths:
        assert set(matching(path, paths)) == {path}
    assert matching("**", paths) == paths
    assert matching("*", paths) == [path for path in paths if "/" not in path]
    assert matching("**/*", paths) == paths


def test_signs_of_patterns() -> None:
    paths = ["a-1.csv", "a-2.csv", "b/a-3.csv", "a[1].csv"]
    assert matching("a-[0-9].csv", paths) == paths[:2]
    assert matching("a-[!1].csv", paths) == paths[1:2]
    assert matching("**/a-?.csv", paths) == paths[:3]
    assert matching("a-[9-0].csv", paths) == []  # no expression at all
    assert matching("a+1.csv", paths) == []


def test_a_folder_is_read_like_a_repository(tmp_path: Path) -> None:
    folder = tmp_path / "my data 数据"
    for path in (*FILES, "README.md"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(CARD if path == "README.md" else "{}", encoding="utf-8")
    assert files_of_folder(folder, Wanted()) == ([folder / "en/c.jsonl", folder / "more/x/y/d.jsonl"], [])
    assert files_of_folder(folder, Wanted(subset="zh"))[1] == [folder / "held/zh.jsonl"]
    assert files_of_folder(folder, Wanted(files=("zh/*",))) == ([folder / "zh/a.jsonl", folder / "zh/b.jsonl"], [])
    with pytest.raises(UsageError, match="my data 数据 has no subset"):
        files_of_folder(folder, Wanted(subset="fr"))
