"""`rlguide register`, run as a user runs it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rlguide.data.store.reading import read_examples
from rlguide.data.store.registered import check_registered, label_counts
from rlguide.workspace import Workspace

COMMAND = str(Path(sys.executable).parent / "rlguide")
FOREIGN = {"old": {"file_name": "old.json", "columns": {"prompt": "q"}}, "新": {"hf_hub_url": "a/b"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "my work 工作"
    (path / "data").mkdir(parents=True)
    (path / "data" / "dataset_info.json").write_text(json.dumps(FOREIGN, ensure_ascii=False), encoding="utf-8")
    return path


def rlguide(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], cwd=folder, capture_output=True, text=True, timeout=60)


def rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"问 {n}?", "chosen": f"好 {n}", "rejected": f"坏 {n}"} for n in range(count)]


def as_lines(values: list[Any]) -> bytes:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()


def write(path: Path, values: list[Any]) -> Path:
    path.write_bytes(as_lines(values))
    return path


def registry(folder: Path) -> Any:
    return json.loads((folder / "data" / "dataset_info.json").read_text(encoding="utf-8"))


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "data").glob("[!.]*"))


def test_a_file_becomes_two_datasets(folder: Path) -> None:
    write(folder / "客服 pairs, v2.jsonl", rows(100))
    done = rlguide(folder, "register", "客服 pairs, v2.jsonl")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "JSON lines; pair: prompt, chosen, rejected; 50 of the first 50 rows fit" in done.stderr
    assert "95 pairs to train on" in done.stderr
    assert "rlguide configure --dataset 客服_pairs_v2" in done.stderr.splitlines()[-1]
    info = registry(folder)
    assert list(info) == [*FOREIGN, "客服_pairs_v2", "客服_pairs_v2_test"]
    assert {name: info[name] for name in FOREIGN} == FOREIGN
    workspace = Workspace(folder)
    names = ["客服_pairs_v2", "客服_pairs_v2_test"]
    assert [dataset.rows for dataset in check_registered(workspace, names)] == [95, 5]
    found = {pair.messages[0].value: pair.chosen for name in names for pair in read_examples(workspace, name)}
    assert found == {row["prompt"]: row["chosen"] for row in rows(100)}
    listed = json.loads(rlguide(folder, "list", "--json").stdout)
    assert (listed[-1]["name"], listed[-1]["local_rows"], listed[-1]["heldout_rows"]) == ("客服_pairs_v2", 95, 5)


def test_a_name_is_taken_once(folder: Path) -> None:
    write(folder / "a.jsonl", rows(10))
    assert rlguide(folder, "register", "a.jsonl").returncode == 0
    before = {name: (folder / "data" / name).read_bytes() for name in visible(folder)}
    again = rlguide(folder, "register", "a.jsonl")
    assert again.returncode == 2
    assert "already has a dataset a" in again.stderr and "--force" in again.stderr
    foreign = rlguide(folder, "register", "a.jsonl", "--name", "old")
    assert foreign.returncode == 2
    assert {name: (folder / "data" / name).read_bytes() for name in visible(folder)} == before
    assert rlguide(folder, "register", "a.jsonl", "--force", "--test-size", "0").returncode == 0
    assert visible(folder) == ["a.manifest.json", "a.parquet", "a.report.json", "dataset_info.json"]
    assert list(registry(folder)) == [*FOREIGN, "a"]


def test_few_bad_rows_are_dropped_and_named(folder: Path) -> None:
    values: list[Any] = rows(500)
    values[7]["chosen"] = values[7]["rejected"]
    values[400]["prompt"] = ""
    path = write(folder / "a.jsonl", values)
    with path.open("ab") as file:
        file.write(b'{"prompt": "q", "chosen": "cut')
    done = rlguide(folder, "register", "a.jsonl")
    assert done.returncode == 0, done.stderr
    assert "dropped 3 of 501 rows as invalid (each in data/a.report.json)" in done.stderr
    told = [" ".join(line.split()) for line in done.stderr.splitlines()]
    assert "1 x chosen equals rejected line 8" in told
    assert "1 x a message of the prompt is empty line 401" in told
    assert "1 x not JSON (cut short?) line 501" in told
    report = json.loads((folder / "data" / "a.report.json").read_text(encoding="utf-8"))
    assert (report["rows_read"], report["result"]) == (501, "imported")
    assert report["rows"] == [
        {"file": "a.jsonl", "line": 8, "reason": "chosen equals rejected"},
        {"file": "a.jsonl", "line": 401, "reason": "a message of the prompt is empty"},
        {"file": "a.jsonl", "line": 501, "reason": "not JSON (cut short?)"},
    ]
    assert json.loads((folder / "data" / "a.manifest.json").read_text())["refused"] == {
        "chosen equals rejected": 1,
        "a message of the prompt is empty": 1,
        "not JSON (cut short?)": 1,
    }


def test_many_bad_rows_refuse_the_file(folder: Path) -> None:
    values = rows(100)
    for row in values[:10]:
        del row["rejected"]
    write(folder / "a.jsonl", values)
    before = visible(folder)
    refused = rlguide(folder, "register", "a.jsonl")
    assert refused.returncode == 1
    assert "10 x rejected is missing  lines 1, 2, 3, ..." in refused.stderr
    assert "10 of 100 rows (10.0%)" in refused.stderr and "--keep-good" in refused.stderr
    assert visible(folder) == sorted([*before, "a.report.json"])
    report = json.loads((folder / "data" / "a.report.json").read_text(encoding="utf-8"))
    assert report["result"] == "refused"
    assert [row["line"] for row in report["rows"]] == list(range(1, 11))
    assert registry(folder) == FOREIGN
    kept = rlguide(folder, "register", "a.jsonl", "--keep-good")
    assert kept.returncode == 0
    assert "dropped 10 of 100 rows as invalid" in kept.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'[{"prompt": "q", "chosen": "a", "rejected": "b"}, {"prompt"', "not a complete JSON list"),
        ("a.json", b'{\n "prompt": "q"\n}', "no column is known as a response"),
        ("a.json", b"", "is empty"),
        ("a.json", b"[]", "holds no objects"),
        ("a.json", '[{"prompt": "é"}]'.encode("latin-1"), "not UTF-8"),
        ("a.json", '[{"prompt": "q"}]'.encode("utf-16"), "no column is known as a response"),
        ("a.parquet", b"PAR1 and nothing else PAR1", "not a complete Parquet file"),
        ("a.parquet", b"something", "not a Parquet file"),
        ("a.csv", b'prompt,chosen,rejected\n"q,a,b\n', "not CSV"),
        ("a.txt", b"some words", "neither JSON"),
        ("a.json", b'[{"messages": [], "label": true}]', "no column is known as a response"),
        ("a.json", b'[{"x": 1}]', "its columns are x"),
    ],
)
def test_a_file_that_is_no_pairs_is_two_lines(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    failed = rlguide(folder, "register", name)
    assert failed.returncode == 1
    error, fix = failed.stderr.splitlines()[-2:]
    assert error.startswith("error: ") and message in error
    assert fix.startswith("  fix: ")
    assert "Traceback" not in failed.stderr
    assert [path for path in visible(folder) if path != "a.report.json"] == ["dataset_info.json"]


def test_labelled_answers_are_registered_for_kto(folder: Path) -> None:
    labelled = [{"prompt": f"问 {n}?", "completion": f"答 {n}", "label": n % 4 == 0} for n in range(100)]
    write(folder / "thumbs.jsonl", labelled)
    write(folder / "pairs.jsonl", rows(20))
    done = rlguide(folder, "register", "thumbs.jsonl", "pairs.jsonl")
    assert done.returncode == 0, done.stderr
    assert "label: prompt, response from completion, label" in done.stderr
    assert "thumbs: 95 responses (" in done.stderr and "desirable" in done.stderr
    assert "these are for KTO: rlguide train --method kto --dataset thumbs\n" in done.stderr
    assert "rlguide configure --dataset pairs" in done.stderr.splitlines()[-1]
    entry = registry(folder)["thumbs"]
    assert entry["columns"]["kto_tag"] == "label" and not entry["ranking"]
    desirable, undesirable = label_counts(Workspace(folder), ["thumbs", "thumbs_test"])
    assert (desirable, undesirable) == (25, 75)
    listed = json.loads(rlguide(folder, "list", "--json").stdout)
    assert [(line["name"], line["kind"]) for line in listed[-2:]] == [("thumbs", "labels"), ("pairs", "pairs")]
    assert listed[-2]["local_rows"] + listed[-2]["heldout_rows"] == 100
    assert "labels, for KTO" in rlguide(folder, "list").stdout
    wrong = rlguide(folder, "register", "pairs.jsonl", "--name", "b", "--format", "label")
    assert wrong.returncode == 1 and "pairs.jsonl cannot be read as label" in wrong.stderr


def test_several_files_one_of_them_broken(folder: Path) -> None:
    write(folder / "a.jsonl", rows(10))
    (folder / "b.json").write_text("[")
    write(folder / "c.jsonl", rows(10))
    done = rlguide(folder, "register", "a.jsonl", "b.json", "c.jsonl")
    assert done.returncode == 1
    assert "1 of 3 failed: b.json" in done.stderr
    assert list(registry(folder)) == [*FOREIGN, "a", "a_test", "c", "c_test"]


def test_usage_errors_start_nothing(folder: Path) -> None:
    write(folder / "a.jsonl", rows(10))
    for arguments, message in (
        (["--name", "a,b"], "--name a_b"),
        (["--format", "pairr"], "did you mean pair?"),
        (["--test-size", "1"], "--test-size 1"),
        (["--seed", str(2**70)], "--seed"),
        (["--min-margin", "nan"], "--min-margin"),
        (["--pairing", "all"], "--pairing all is for lists of scored responses"),
        (["--split", "train"], "a.jsonl is a file"),
        (["copy/a.jsonl"], "two of these would be called a"),
        (["-w", "nowhere"], "nowhere"),
    ):
        failed = rlguide(folder, "register", "a.jsonl", *arguments)
        assert failed.returncode == 2, failed.stderr
        assert message in failed.stderr
    assert visible(folder) == ["dataset_info.json"]


def test_a_file_in_the_data_folder_is_not_written_over(folder: Path) -> None:
    write(folder / "a.jsonl", rows(10))
    assert rlguide(folder, "register", "a.jsonl").returncode == 0
    path = folder / "data" / "a.parquet"
    before = path.read_bytes()
    for extra in ([], ["--force"]):
        failed = rlguide(folder, "register", "data/a.parquet", *extra)
        assert failed.returncode == 2
        assert path.read_bytes() == before
    again = rlguide(folder, "register", "data/a.parquet", "--name", "checked", "--test-size", "0")
    assert again.returncode == 0, again.stderr
    assert list(read_examples(Workspace(folder), "checked")) == list(read_examples(Workspace(folder), "a"))


def test_filters_are_told_and_recorded(folder: Path) -> None:
    values = [
        {"prompt": f"What is {n}?", "chosen": f"It is {n}." + " Really." * (n % 3), "rejected": f"No idea {n}",
         "chosen_score": 5, "rejected_score": n % 5}
        for n in range(60)
    ]  # fmt: skip
    values += [{"prompt": f"请问这是什么 {n}?", "chosen": f"好的,是这样 {n}", "rejected": "不知道"} for n in range(10)]
    values += [values[0]] * 5
    write(folder / "a.jsonl", values)
    done = rlguide(folder, "register", "a.jsonl", "--lang", "en", "--min-margin", "2", "--dedupe", "--test-size", "0")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((folder / "data" / "a.manifest.json").read_text(encoding="utf-8"))
    assert manifest["left_out"] == {
        "has no scores (--min-margin)": 10,
        "its margin is below 2 (--min-margin)": 12,
        "duplicate of an earlier one (--dedupe)": 5,
    }
    assert manifest["files"][0]["rows"] == 48
    assert (manifest["options"]["lang"], manifest["options"]["min_margin"], manifest["options"]["dedupe"]) == (
        "en", 2, True,
    )  # fmt: skip
    assert "5 x duplicate of an earlier one (--dedupe)" in done.stderr
    assert {pair.scores for pair in read_examples(Workspace(folder), "a")} == {(5.0, float(n)) for n in range(4)}
    for options, message in (
        (["--max-length", "10"], "the filters drop every row"),
        (["--lang", "klingon"], "--lang klingon is not known"),
        (["--max-samples", "1"], "--max-samples must be 2"),
    ):
        failed = rlguide(folder, "register", "a.jsonl", "--force", *options)
        assert failed.returncode in (1, 2) and message in failed.stderr


def test_ties_alone_are_said(folder: Path) -> None:
    row = {"prompt": "q", "response_0": "a", "response_1": "b", "winner": "tie"}
    write(folder / "a.jsonl", [row] * 5)
    failed = rlguide(folder, "register", "a.jsonl")
    assert failed.returncode == 1
    assert "no row makes a pair (5 x none of its responses is better than another)" in failed.stderr
    write(folder / "a.jsonl", [row] * 5 + [{**row, "response_0": " ", "winner": "response_1"}])
    failed = rlguide(folder, "register", "a.jsonl")
    assert "(5 x none of its responses is better than another; 1 invalid row)" in failed.stderr
    assert "1 x rejected is empty" in failed.stderr and "line 6" in failed.stderr


def test_filters_that_leave_nothing_replace_nothing(folder: Path) -> None:
    write(folder / "a.jsonl", rows(20))
    assert rlguide(folder, "register", "a.jsonl").returncode == 0
    before = {path: (folder / "data" / path).read_bytes() for path in visible(folder)}
    longer = [{"prompt": f"Is it {n}?", "chosen": "Yes, it is.", "rejected": "No."} for n in range(300)]
    write(folder / "a.jsonl", longer)
    for options in (["--balance-length"], ["--min-margin", "1"]):
        failed = rlguide(folder, "register", "a.jsonl", "--force", *options)
        assert failed.returncode == 1, failed.stderr
        assert "the filters drop every row (300 x " in failed.stderr
    write(folder / "a.jsonl", [{"prompt": "q", "chosen": "same", "rejected": "same"}] * 5)
    assert "data/a.refused.json names each" in rlguide(folder, "register", "a.jsonl", "--force").stderr
    assert {path: (folder / "data" / path).read_bytes() for path in before} == before
    assert set(visible(folder)) - set(before) == {"a.refused.json"}


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (
            as_lines([{"prompt": f"q {n}", "chosen": "longer", "rejected": "no"} for n in range(300)]),
            ["--balance-length"],
        ),
        (as_lines([{"prompt": "q", "chosen": "a", "rejected": "a"}] * 9), []),
        (b"some words", []),
    ],
)
def test_a_register_that_fails_leaves_nothing_behind(folder: Path, content: bytes, options: list[str]) -> None:
    (folder / "a.jsonl").write_bytes(content)
    (folder / "data" / ".older.dataset.lock").write_text("")  # of an earlier version, or of a killed run
    for name in ("a", "b"):
        assert rlguide(folder, "register", "a.jsonl", "--name", name, *options).returncode == 1
        assert [path.name for path in (folder / "data").glob(".*")] == []
    assert "interrupted" not in rlguide(folder, "list").stderr


def test_why_nothing_is_held_out_is_told(folder: Path) -> None:
    write(folder / "a.jsonl", [row | {"prompt": f"q {n % 3}"} for n, row in enumerate(rows(60))])
    done = rlguide(folder, "register", "a.jsonl")
    assert "nothing is held out: there are 3 prompts with 20 rows or more each, and 3 rows are wanted" in done.stderr
    assert "a_test.parquet" not in visible(folder)
    assert "20 pairs held out" in rlguide(folder, "register", "a.jsonl", "--force", "--test-size", "0.2").stderr
    assert "held out" not in rlguide(folder, "register", "a.jsonl", "--force", "--test-size", "0").stderr


def test_repeats_are_of_all_that_is_said(folder: Path) -> None:
    values = [row | {"system": system} for row in rows(30) for system in ("Be brief.", "Be kind.")]
    write(folder / "a.jsonl", values + values)
    assert rlguide(folder, "register", "a.jsonl", "--dedupe", "--test-size", "0").returncode == 0
    assert len(list(read_examples(Workspace(folder), "a"))) == 60


def test_a_folder_with_splits(folder: Path) -> None:
    source = folder / "下载 set"
    (source / "more").mkdir(parents=True)
    (source / "train-00000-of-00002.jsonl.gz").write_bytes(gzip.compress(as_lines(rows(40)[:20])))
    (source / "train-00001-of-00002.jsonl.gz").write_bytes(gzip.compress(as_lines(rows(40)[20:])))
    write(source / "test.jsonl", [*rows(3), {"prompt": "new", "chosen": "a", "rejected": "b"}])
    done = rlguide(folder, "register", "下载 set")
    assert done.returncode == 0, done.stderr
    assert "3 x the same prompt is in the held-out split" in done.stderr
    workspace = Workspace(folder)
    assert [len(list(read_examples(workspace, name))) for name in ("下载_set", "下载_set_test")] == [37, 4]
    manifest = json.loads((folder / "data" / "下载_set.manifest.json").read_text(encoding="utf-8"))
    assert [Path(file["file"]).name for file in manifest["source"]["files"]] == [
        "train-00000-of-00002.jsonl.gz",
        "train-00001-of-00002.jsonl.gz",
        "test.jsonl",
    ]
    missing = rlguide(folder, "register", "下载 set", "--name", "x", "--split", "dev")
    assert missing.returncode == 2 and "train" in missing.stderr


def test_files_of_a_folder_that_are_not_taken_are_named(folder: Path) -> None:
    source = folder / "set"
    source.mkdir()
    for name in ("train", "test", "more", "validation"):
        write(source / f"{name}.jsonl", [{"prompt": f"{name} {n}", "chosen": "a", "rejected": "b"} for n in range(3)])
    (source / "train.csv").write_text("prompt,chosen,rejected\nq,a,b\n")
    done = rlguide(folder, "register", "set")
    assert done.returncode == 0, done.stderr
    assert "set: not taken: more.jsonl, train.csv, validation.jsonl (--file to choose)" in done.stderr
    named = rlguide(folder, "register", "set", "--name", "all", "--file", "*.jsonl")
    assert named.returncode == 0 and "not taken" not in named.stderr
    there = [len(list(read_examples(Workspace(folder), name))) for name in ("all", "all_test")]
    assert sum(there) == 12


def test_what_datasets_saved_is_registered(folder: Path) -> None:
    import datasets

    splits = {"train": rows(30), "test": [{"prompt": "new", "chosen": "a", "rejected": "b"}]}
    saved = datasets.DatasetDict({name: datasets.Dataset.from_list(found) for name, found in splits.items()})
    saved.save_to_disk(folder / "dict")
    saved["train"].save_to_disk(folder / "single")
    for name, counts in (("dict", [30, 1]), ("single", [28, 2])):
        done = rlguide(folder, "register", name)
        assert done.returncode == 0, done.stderr
        there = [len(list(read_examples(Workspace(folder), split))) for split in (name, f"{name}_test")]
        assert sum(there) == sum(counts) and (name == "single" or there == counts)


def test_held_out_files_are_checked_and_counted_too(folder: Path) -> None:
    source = folder / "set"
    source.mkdir()
    write(source / "train.jsonl", rows(200))
    test = [{"prompt": f"t {n}", "chosen": "a", "rejected": "a" if n % 5 == 0 else "b"} for n in range(25)]
    write(source / "test.jsonl", test)
    refused = rlguide(folder, "register", "set")
    assert refused.returncode == 1 and "5 of 25 held-out rows (20.0%) are not valid" in refused.stderr
    assert rlguide(folder, "register", "set", "--keep-good").returncode == 0
    report = json.loads((folder / "data" / "set.report.json").read_text(encoding="utf-8"))
    assert [(row["file"], row["line"]) for row in report["rows"]] == [("test.jsonl", n) for n in (1, 6, 11, 16, 21)]
    write(source / "test.jsonl", test[:1])
    failed = rlguide(folder, "register", "set", "--keep-good", "--force")
    assert failed.returncode == 1 and "1 of 1 rows (100.0%) is not a valid preference pair" in failed.stderr


def bad(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"b {n}", "chosen": "a", "rejected": ""} for n in range(count)]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"train.jsonl": rows(1000), "test.jsonl": [*bad(9), *rows(1)]}, "9 of 10 held-out rows (90.0%) are not valid"),
        (
            {"train.jsonl": [*rows(99), *bad(2)], "test.jsonl": rows(999)[99:]},
            "2 of 101 training rows (2.0%) are not valid",
        ),
        ({"train-1.jsonl": rows(900), "train-2.jsonl": bad(3)}, "3 of 3 rows of train-2.jsonl (100.0%) are not valid"),
        (
            {"a.jsonl": [*rows(9), *bad(1)]},
            "1 of 10 rows (10.0%) is not a valid preference pair, so nothing was imported;",
        ),
    ],
)
def test_bad_rows_do_not_vanish_among_many_good_ones(folder: Path, files: dict[str, list[Any]], said: str) -> None:
    source = folder / "set"
    source.mkdir()
    for name, values in files.items():
        write(source / name, values)
    refused = rlguide(folder, "register", "set")
    assert refused.returncode == 1 and said in refused.stderr, refused.stderr
    assert registry(folder) == FOREIGN
    kept = rlguide(folder, "register", "set", "--keep-good")
    assert kept.returncode == 0, kept.stderr
    mostly = [line.strip() for line in kept.stderr.splitlines() if "mostly invalid" in line]
    assert mostly == {
        "9 of": ["mostly invalid: 9 of 10 rows of test.jsonl (90.0%)"],
        "3 of": ["mostly invalid: 3 of 3 rows of train-2.jsonl (100.0%)"],
    }.get(said[:4], [])


def test_a_slip_in_a_small_file_of_a_large_folder_is_dropped(folder: Path) -> None:
    source = folder / "set"
    source.mkdir()
    write(source / "train-1.jsonl", rows(300))
    write(source / "train-2.jsonl", bad(2))
    done = rlguide(folder, "register", "set", "--format", "pair")
    assert done.returncode == 0, done.stderr
    assert "dropped 2 of 302 rows as invalid" in done.stderr and "mostly invalid" not in done.stderr


def test_repeats_in_a_held_out_file_are_counted(folder: Path) -> None:
    source = folder / "set"
    source.mkdir()
    write(source / "train.jsonl", rows(20))
    write(source / "test.jsonl", [{"prompt": "t", "chosen": "a", "rejected": "b"}] * 3)
    assert rlguide(folder, "register", "set", "--dedupe").returncode == 0
    manifest = json.loads((folder / "data" / "set.manifest.json").read_text(encoding="utf-8"))
    assert [file["rows"] for file in manifest["files"]] == [20, 1]
    assert manifest["left_out"] == {"duplicate of an earlier one (--dedupe)": 2}


def test_samples_are_drawn_from_all_local_files(folder: Path) -> None:
    source = folder / "set"
    source.mkdir()
    for number in range(3):
        write(source / f"train-0000{number}-of-00003.jsonl", rows(300)[number::3])
    assert rlguide(folder, "register", "set", "--max-samples", "60", "--test-size", "0").returncode == 0
    numbers = [int(pair.chosen.split()[1]) for pair in read_examples(Workspace(folder), "set")]
    assert len(numbers) == 60 and {number % 3 for number in numbers} == {0, 1, 2}


def test_margins_and_ties_of_scored_lists_are_filtered_not_bad(folder: Path) -> None:
    values = [{"prompt": f"q {n}", "responses": ["a", "b", "c"], "scores": [1, 1 + n % 3, 1]} for n in range(30)]
    write(folder / "a.jsonl", values)
    done = rlguide(folder, "register", "a.jsonl", "--pairing", "all", "--min-margin", "2", "--test-size", "0")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((folder / "data" / "a.manifest.json").read_text(encoding="utf-8"))
    assert (manifest["files"][0]["rows"], manifest["refused"]) == (20, {})
    assert manifest["left_out"] == {
        "none of its responses is better than another": 10,
        "its margin is below 2 (--min-margin)": 20,
    }


def test_a_held_out_name_belongs_to_its_dataset(folder: Path) -> None:
    write(folder / "zed.jsonl", rows(40))
    write(folder / "zed_test.jsonl", rows(40))
    assert rlguide(folder, "register", "zed.jsonl").returncode == 0
    taken = rlguide(folder, "register", "zed_test.jsonl", "--force")
    assert taken.returncode == 2 and "zed_test is what zed holds out" in taken.stderr
    write(folder / "early_test.jsonl", rows(40))
    assert rlguide(folder, "register", "early_test.jsonl").returncode == 0
    other = rlguide(folder, "register", "zed.jsonl", "--name", "early", "--force")
    assert other.returncode == 2 and "there is a dataset early_test" in other.stderr


def test_a_foreign_held_out_set_is_not_adopted(folder: Path) -> None:
    info = registry(folder) | {"q_test": {"file_name": "mine.json", "ranking": True}}
    (folder / "data" / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    write(folder / "a.jsonl", rows(10))
    done = rlguide(folder, "register", "a.jsonl", "--name", "q", "--force", "--test-size", "0")
    assert done.returncode == 0 and "removed q_test" in done.stderr
    assert check_registered(Workspace(folder), ["q"])[0].heldout is None


def test_a_broken_registry_is_left_as_it_is(folder: Path) -> None:
    (folder / "data" / "dataset_info.json").write_text("{ broken")
    write(folder / "a.jsonl", rows(10))
    failed = rlguide(folder, "register", "a.jsonl")
    assert failed.returncode == 1
    assert "dataset_info.json is not valid JSON" in failed.stderr
    assert (folder / "data" / "dataset_info.json").read_text() == "{ broken"
    assert visible(folder) == ["dataset_info.json"]
    listed = rlguide(folder, "list")
    assert listed.returncode == 0 and "ultrafeedback" in listed.stdout and "not valid JSON" in listed.stderr


def test_two_registers_at_once_lose_nothing(folder: Path) -> None:
    for name in "abcd":
        write(folder / f"{name}.jsonl", rows(200))
    processes = [
        subprocess.Popen([COMMAND, "register", f"{name}.jsonl"], cwd=folder, stderr=subprocess.DEVNULL)
        for name in "abcd"
    ]
    assert [process.wait(60) for process in processes] == [0] * 4
    assert set(registry(folder)) == {*FOREIGN, *(name + end for name in "abcd" for end in ("", "_test"))}
