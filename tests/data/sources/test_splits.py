"""Which files are the split that is wanted: by the card, by the usual names, and in a folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlguide.data.hubs.client import check_paths, printable
from rlguide.data.sources.card import matching
from rlguide.data.sources.selection import FileSelection
from rlguide.data.sources.splits import Selection, files_of_folder, select_files
from rlguide.errors import DataError, HubError, UsageError


def select(*paths: str, card: str = "", **wanted: object) -> Selection:
    return select_files("a/b", paths, card, FileSelection(**wanted))  # type: ignore[arg-type]


ULTRAFEEDBACK = [
    f"data/{split}-00000-of-00001.parquet"
    for split in ("train_prefs", "train_sft", "train_gen", "test_prefs", "test_sft", "test_gen")
]


SPLITS = ("train", "test")


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
        (["训练.jsonl"], ["训练.jsonl"], []),
    ],
)
def test_usual_layouts(paths: list[str], train: list[str] | int, heldout: list[str] | int) -> None:
    found = select(*paths)
    assert (len(found.train) if isinstance(train, int) else list(found.train)) == train
    assert (len(found.heldout) if isinstance(heldout, int) else list(found.heldout)) == heldout


@pytest.mark.parametrize(
    ("paths", "wanted", "what", "fix"),
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
        # openbmb/UltraFeedback: one file for each source of questions.
        (
            ["evol_instruct.jsonl", "flan.jsonl", "sharegpt.jsonl"],
            {},
            "3 splits",
            "or all of them with --file '*.jsonl'",
        ),
        (["d/a.json.gz", "d/b.json.gz", "d/x.csv"], {"subset": "d"}, "3 splits", "d/a.json.gz, d/b.json.gz, d/x.csv"),
        # Anthropic/hh-rlhf: one folder for each source; the last one holds no pairs, which its name does not say.
        (
            [
                *(f"{folder}/{split}.jsonl.gz" for folder in ("harmless-base", "helpful-base") for split in SPLITS),
                "red-team-attempts/red_team_attempts.jsonl.gz",
            ],
            {},
            "several subsets",
            "; or all of them with --file '*/train.jsonl.gz'",
        ),
        (["a/one.csv", "b/two.csv"], {}, "several subsets", "--file '*/*.csv'"),
    ],
)
def test_what_is_ambiguous_or_missing_lists_what_there_is(
    paths: list[str], wanted: dict[str, object], what: str, fix: str
) -> None:
    with pytest.raises(UsageError) as refused:
        select(*paths, **wanted)
    assert what in refused.value.what and fix in refused.value.fix


def test_no_data_file_at_all() -> None:
    with pytest.raises(DataError, match=r"train\.tar"):
        select("train.tar", "load.py")
    with pytest.raises(DataError, match="nothing"):
        select()


@pytest.mark.parametrize(
    ("paths", "taken", "left_out"),
    [
        (["train.jsonl", "more.jsonl", "test.jsonl", "validation.jsonl"], 2, ["more.jsonl", "validation.jsonl"]),
        (["train.jsonl", "train_zh.jsonl"], ["train.jsonl"], ["train_zh.jsonl"]),
        (["train.jsonl", "train.csv", "notes.md", "load.py"], ["train.jsonl"], ["train.csv"]),
        (["pairs.jsonl", "pairs.xlsx", "more.zip", "old.pkl"], ["pairs.jsonl"], ["more.zip", "old.pkl", "pairs.xlsx"]),
        (["pairs.jsonl", "LICENSE.txt", "config.yaml", ".hidden.csv", "dataset_infos.json"], ["pairs.jsonl"], []),
        (["pairs.xlsx", "README.txt"], ["pairs.xlsx"], []),
        (["pairs.zip", "README.txt"], ["pairs.zip"], []),
        (["train.txt", "test.txt"], 2, []),
        (["train.jsonl.zip", "test.jsonl.xz"], 2, []),
        (["a/train.jsonl", "__MACOSX/a/train.jsonl"], ["a/train.jsonl"], []),
        # `datasets.save_to_disk`, beside what its `map` left in the cache.
        (["state.json", "dataset_info.json", "data-00000-of-00001.arrow", "cache-0a1b.arrow"], 1, []),
        (
            [
                "dataset_dict.json",
                *(f"{split}/{name}" for split in SPLITS for name in ("state.json", "data-00000-of-00001.arrow")),
            ],
            2,
            [],
        ),
    ],
)
def test_what_is_not_taken_is_named(paths: list[str], taken: list[str] | int, left_out: list[str]) -> None:
    found = select(*paths)
    files = [*found.train, *found.heldout]
    assert (len(files) if isinstance(taken, int) else files) == taken
    assert list(found.left_out) == left_out
    assert bool(found.not_taken) == bool(left_out)
    for name in left_out:
        assert name in found.not_taken
        assert select(*paths, files=(name,)).train == (name,), "what the line advises works"


def test_of_many_files_ten_are_named() -> None:
    found = select("train.jsonl", "test.jsonl", *(f"x{n:03}.jsonl" for n in range(200)))
    assert (
        found.not_taken
        == f"not taken: {', '.join(f'x{n:03}.jsonl' for n in range(10))} and 190 more (--file to choose)"
    )
    assert select("train.jsonl", "a\x1b[31m.jsonl").not_taken.isprintable()


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


def test_long_names_of_subsets_stay_whole() -> None:
    names = [f"a_name_that_is_long_because_it_says_all_{'x' * 30}_{end}" for end in ("one", "two")]
    card = "---\nconfigs:\n" + "".join(f"- config_name: {name}\n  data_files: {name}.csv\n" for name in names) + "---\n"
    for name in names:
        assert select(*(f"{one}.csv" for one in names), card=card, subset=name).train == (f"{name}.csv",)


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


@settings(deadline=None)
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


def test_the_pattern_that_is_offered_means_what_it_says() -> None:
    paths = [f"{folder}/{split}.jsonl.gz" for folder in ("harmless", "helpful") for split in SPLITS]
    found = select(*paths, files=("*/train.jsonl.gz",))
    assert found.train == ("harmless/train.jsonl.gz", "helpful/train.jsonl.gz")
    for others in (["test.jsonl"], ["deep/c.jsonl", "deep/d.jsonl"]):
        with pytest.raises(UsageError) as refused:
            select("a.jsonl", "b.jsonl", *others)
        assert ("; or all of them with --file '**/*.jsonl'" in refused.value.fix) == (others != ["test.jsonl"])
    assert select("a.jsonl", "deep/c.jsonl", files=("**/*.jsonl",)).train == ("a.jsonl", "deep/c.jsonl")


@pytest.mark.parametrize("paths", [["train.jsonl", "en/train.jsonl"], ["a.jsonl", "chat/b.jsonl", "chat/x/a.jsonl"]])
def test_files_in_folders_are_not_passed_over(paths: list[str]) -> None:
    with pytest.raises(UsageError, match="has data files both in folders and in none") as refused:
        select(*paths)
    assert "'' for none" in refused.value.fix and "--file '**/" in refused.value.fix
    assert select(*paths, subset="").train == (paths[0],)


def plainly(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """What a pattern means, by trying all ways of reading it: right, and as slow as can be."""
    if not pattern:
        return not path
    if pattern == ["**"]:
        return bool(path)  # `more/**` is not a file `more`
    if pattern[0] == "**":
        return plainly(pattern[1:], path) or (bool(path) and plainly(pattern, path[1:]))
    return bool(path) and name_fits(pattern[0], path[0]) and plainly(pattern[1:], path[1:])


def name_fits(pattern: str, name: str) -> bool:
    if not pattern or not name:
        return not name and not pattern.strip("*")
    if pattern[0] == "*":
        return name_fits(pattern[1:], name) or name_fits(pattern, name[1:])
    return pattern[0] in ("?", name[0]) and name_fits(pattern[1:], name[1:])


parts = st.text("ab*?", min_size=1, max_size=5)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.one_of(parts, st.just("**")), min_size=1, max_size=5),
    st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=5),
)
def test_a_pattern_means_what_its_signs_mean(pattern: list[str], path: list[str]) -> None:
    found = matching("/".join(pattern), ["/".join(path)])
    assert bool(found) == plainly(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 20 + "*.csv", "a" * 200 + ".jsonl"),
        ("**/a/" * 12 + "x*", "a/" * 60 + "y"),
        ("**/" * 300, "a/" * 60 + "y"),
    ],
    ids=["stars", "folders", "nothing but folders"],
)
def test_no_pattern_takes_for_ever(pattern: str, path: str) -> None:
    """Tried one way after the other these take longer than the world is old."""
    code = "import sys; from rlguide.data.sources.card import matching; print(matching(*sys.argv[1:2], sys.argv[2:]))"
    done = subprocess.run([sys.executable, "-c", code, pattern, path], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_a_card_cannot_multiply_its_patterns() -> None:
    lines = ["---", "a: &a [" + "x.csv, " * 300 + "]", "b: &b [" + "{split: s, path: *a}, " * 300 + "]", "configs:"]
    lines += ["- config_name: c", "  data_files: *b"] * 300
    with pytest.raises(DataError, match="more than 10,000 patterns"):
        select("train.jsonl", card="\n".join([*lines, "---", ""]))


def test_names_of_a_card_do_not_act_on_the_screen() -> None:
    card = '---\nconfigs:\n- config_name: "\\e[31mred"\n  data_files: {"\\e]0;x\\a": a.csv, two: b.csv}\n---\n'
    with pytest.raises(UsageError) as refused:
        select("a.csv", "b.csv", card=card)
    assert "\\x1b]0;x\\x07" in refused.value.fix and refused.value.fix.isprintable()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("a\0b.jsonl", "control characters: 'a\\x00b.jsonl'"),
        ("\x1b[31m\x1b]0;owned\x07red.jsonl", "control characters: '\\x1b[31m\\x1b]0;owned\\x07red.jsonl'"),
        ("data/\x9b2J.csv", "control characters"),
        ("a\nb.csv", "control characters"),
        ("\ud800.csv", "control characters: '\\ud800.csv'"),
        ("cod\u202evsc.exe", "control characters: 'cod\\u202evsc.exe'"),
        ("x" * 300 + ".jsonl", "of 306 bytes (255 at most): 'xxx"),
        ("deep/" + "字" * 90 + "/a.csv", "of 270 bytes"),
        ("../x.csv", "outside its repository"),
        ("a/../../x.csv", "outside its repository"),
        ("/etc/x.csv", "outside its repository"),
    ],
)
def test_names_that_act_or_cannot_be_are_refused(path: str, why: str) -> None:
    with pytest.raises(HubError) as refused:
        check_paths("a/b", ["train.csv", path])
    assert why in refused.value.what and refused.value.what.isprintable()


@settings(deadline=None)
@given(st.text())
def test_what_is_shown_of_a_name_is_harmless(text: str) -> None:
    shown = printable(text)
    assert not set(shown) & {chr(code) for code in (*range(32), *range(127, 160), *range(0x202A, 0x202F))}
    shown.encode()  # no half of a pair
    good = "数据/训练 #1%20+?.jsonl é\u200d"
    assert printable(good) == good
    check_paths("a/b", [good, "x" * 255, "deep/" * 100 + "x"])


def test_a_folder_is_read_like_a_repository(tmp_path: Path) -> None:
    folder = tmp_path / "my data 数据"
    for path in (*FILES, "README.md"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(CARD if path == "README.md" else "{}", encoding="utf-8")
    found = files_of_folder(folder, FileSelection())
    assert (found.train, found.heldout) == (("en/c.jsonl", "more/x/y/d.jsonl"), ())
    assert {*found.train, *found.left_out} == set(FILES)
    assert files_of_folder(folder, FileSelection(subset="zh")).heldout == ("held/zh.jsonl",)
    assert files_of_folder(folder, FileSelection(files=("zh/*",))).train == ("zh/a.jsonl", "zh/b.jsonl")
    with pytest.raises(UsageError, match="my data 数据 has no subset"):
        files_of_folder(folder, FileSelection(subset="fr"))


def test_a_numbered_part_that_is_not_there_is_missed(tmp_path: Path) -> None:
    for name in ("train-00000-of-00003.jsonl.gz", "train-00002-of-00003.jsonl.gz"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match=r"the part train-00001-of-00003\.jsonl\.gz is not there"):
        files_of_folder(tmp_path, FileSelection())
    assert len(files_of_folder(tmp_path, FileSelection(files=("*.gz",))).train) == 2
