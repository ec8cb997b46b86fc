"""What is derived from a dataset: right as long as its rows are, gone with them; and each answer once for KTO."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.curate.filters import Filters
from rlguide.data.curate.single_responses import single_responses
from rlguide.data.example import Example, Turn
from rlguide.data.ingest.options import IngestOptions
from rlguide.data.ingest.register import register_path
from rlguide.data.ingest.views import kto_view, view, view_names
from rlguide.data.store import journal
from rlguide.data.store.dataset_info import change_registry, read_registry
from rlguide.data.store.journal import settle
from rlguide.data.store.manifest import read_manifest
from rlguide.data.store.stale_views import outdated
from rlguide.errors import DataError, UsageError
from rlguide.locks import locked
from rlguide.workspace import Workspace
from tests.data.kill_at_random import die_at


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "my work 工作"
    (root / "data").mkdir(parents=True)
    return Workspace(root)


def import_rows(workspace: Workspace, rows: list[dict[str, Any]], **options: Any) -> None:
    source = workspace.root / "source.jsonl"
    source.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    register_path(workspace, source, IngestOptions("a", **options, force=True))


def pairs(count: int = 60) -> list[dict[str, Any]]:
    return [{"prompt": f"问 {n}?", "chosen": f"好 {n}", "rejected": f"坏 {n}"} for n in range(count)]


def labels(count: int = 40) -> list[dict[str, Any]]:
    return [{"prompt": f"问 {n}?", "completion": f"答 {n}", "label": n % 2 == 0} for n in range(count)]


def read(workspace: Workspace, name: str) -> list[dict[str, Any]]:
    return list(pq.read_table(workspace.data / read_registry(workspace)[name]["file_name"]).to_pylist())


def prompts(workspace: Workspace, name: str) -> set[str]:
    return {row["prompt"] for row in read(workspace, name)}


def other_split(workspace: Workspace) -> None:
    import_rows(workspace, pairs(), test_size=0.2, filters=Filters(seed=9))


VIEWS = {f"a_{use}{end}" for use in ("kto", "sft", "ppo") for end in ("", "_test")}


def with_views(workspace: Workspace) -> None:
    import_rows(workspace, pairs(), test_size=0.2)
    for use in ("kto", "sft", "ppo"):
        view(workspace, "a", use)  # type: ignore[arg-type]
    assert set(read_registry(workspace)) == {"a", "a_test", *VIEWS}


def test_no_view_shows_what_is_held_out_now(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with_views(workspace)
    before = prompts(workspace, "a_kto")
    other_split(workspace)
    heldout = prompts(workspace, "a_test")
    assert before & heldout, "the test can fail: the earlier view would leak"
    assert set(read_registry(workspace)) == {"a", "a_test", *VIEWS} - {"a_kto", "a_kto_test"}
    assert not list(workspace.data.glob("a_kto*")), "no file of it is left"
    assert "removed what showed the earlier a: a_kto, a_kto_test" in capsys.readouterr().err
    for use in ("sft", "ppo"):
        assert prompts(workspace, f"a_{use}") == prompts(workspace, "a")
        assert prompts(workspace, f"a_{use}_test") == heldout
    assert view_names(workspace, ["a_kto"], "kto") == ["a_kto"], "whoever trains on it gets it made anew"
    assert prompts(workspace, "a_kto") == prompts(workspace, "a")
    assert prompts(workspace, "a_kto_test") == heldout


def test_views_of_what_is_held_out_no_more_go(workspace: Workspace) -> None:
    with_views(workspace)
    import_rows(workspace, pairs(), test_size=0)
    assert set(read_registry(workspace)) == {"a", "a_sft", "a_ppo"}
    assert len(prompts(workspace, "a_sft")) == 60


def test_views_of_pairs_go_when_labels_come(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    with_views(workspace)
    import_rows(workspace, labels(), test_size=0.2)
    assert set(read_registry(workspace)) == {"a", "a_test"}
    assert not list(workspace.data.glob("a_kto*"))
    said = capsys.readouterr().err
    assert all(name in said for name in VIEWS) and "rlguide view" not in said


def test_views_of_an_entry_of_others_go_with_it(workspace: Workspace) -> None:
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    for name in ("a", "a_test"):
        (workspace.data / f"{name}.json").write_text(json.dumps(pairs()), encoding="utf-8")
        change_registry(workspace, {name: {"file_name": f"{name}.json", "ranking": True, "columns": columns}})
    for use in ("kto", "sft", "ppo"):
        view(workspace, "a", use)  # type: ignore[arg-type]
    mine = {"other": {"file_name": "a.json", "columns": {"prompt": "prompt", "response": "chosen"}}}
    change_registry(workspace, mine)
    other_split(workspace)
    assert set(read_registry(workspace)) == {"a", "a_test", "other"}
    assert (workspace.data / "a.json").exists(), "nobody else's file is deleted"


def test_a_dataset_that_only_has_the_name_of_a_view_stays(workspace: Workspace) -> None:
    import_rows(workspace, pairs())
    own = {"a_kto": {"file_name": "own.json"}, "a_sft": {"file_name": "own.json"}}
    change_registry(workspace, own)
    other_split(workspace)
    entries = read_registry(workspace)
    assert {name: entries[name] for name in own} == own


@pytest.mark.parametrize("step", range(11))  # the dataset's files, the registry, the view's files
def test_a_kill_at_any_step_leaves_the_change_whole(workspace: Workspace, step: int) -> None:
    with_views(workspace)
    child = os.fork()
    if not child:
        try:
            die_at(step)
            other_split(workspace)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    settle(workspace)
    assert "a_kto" not in read_registry(workspace)
    assert not list(workspace.data.glob("a_kto*")) and not list(workspace.data.glob(".*.pending.json"))
    assert not prompts(workspace, "a") & prompts(workspace, "a_test")


def test_a_row_of_others_that_cannot_be_written_is_left_out(workspace: Workspace) -> None:
    rows = [*pairs(), {"prompt": "half of a pair: \ud83d", "chosen": "a", "rejected": "b"}]
    (workspace.data / "own.json").write_text(json.dumps(rows), encoding="utf-8")
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    change_registry(workspace, {"own": {"file_name": "own.json", "ranking": True, "columns": columns}})
    assert kto_view(workspace, "own") == "own_kto"
    assert prompts(workspace, "own_kto") == {row["prompt"] for row in rows[:-1]}


def test_a_view_in_the_making_is_waited_for(workspace: Workspace) -> None:
    """Else it would be put in place, with the earlier rows, after the dataset has been replaced."""
    with_views(workspace)
    code = "import sys; from rlguide.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "register", "source.jsonl", "--name", "a", "--force", "--seed", "9"]
    with locked(journal.lock_path(workspace, "a_kto")):
        process = subprocess.Popen(command, cwd=workspace.root, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert any("a_kto: another rlguide is making it" in line for line in process.stderr)
        assert process.poll() is None and "a_kto" in read_registry(workspace)
    process.communicate(timeout=60)
    assert process.returncode == 0 and "a_kto" not in read_registry(workspace)


def test_a_view_whose_pairs_were_changed_by_hand_is_out_of_date(workspace: Workspace) -> None:
    with_views(workspace)
    assert [outdated(workspace, name) for name in ("a", "a_kto", "a_kto_test", "a_sft")] == [None] * 4
    path = workspace.data / "a.parquet"
    pq.write_table(pq.read_table(path).slice(0, 9), path)
    assert [outdated(workspace, name) for name in ("a_kto", "a_kto_test", "a")] == ["a", "a", None]
    kto_view(workspace, "a")
    assert outdated(workspace, "a_kto") is None
    path.unlink()
    assert outdated(workspace, "a_kto") == "a"
    change_registry(workspace, {}, remove=("a",))
    assert outdated(workspace, "a_kto") == "a"


def test_an_answer_that_is_chosen_and_rejected_is_not_in_the_view(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"prompt": f"问 {n}?", "responses": [f"{word} {n}" for word in "甲乙丙丁"], "scores": [1, 2, 3, 4]}
        for n in range(40)
    ]
    import_rows(workspace, rows, pairing="all", test_size=0.25)
    capsys.readouterr()
    kto_view(workspace, "a")
    for end in ("", "_test"):
        asked = prompts(workspace, f"a{end}")
        found = sorted((row["prompt"], row["answer"], row["label"]) for row in read(workspace, f"a_kto{end}"))
        numbers = [prompt[2:-1] for prompt in sorted(asked)]
        assert found == sorted(
            (f"问 {n}?", f"{word} {n}", label) for n in numbers for word, label in (("甲", False), ("丁", True))
        )
    manifest = read_manifest(workspace, "a_kto")
    assert manifest is not None
    # Of six pairs a prompt: three times the best, three times the worst, six times those between.
    assert list(manifest.left_out.values()) == [6 * 40, 4 * 40]
    assert "dropped: 240 x a response chosen in one pair and rejected in another" in capsys.readouterr().err


def test_a_view_of_contradictions_alone_is_refused(workspace: Workspace) -> None:
    rows = [{"prompt": "问?", "chosen": "甲", "rejected": "乙"}, {"prompt": "问?", "chosen": "乙", "rejected": "甲"}]
    import_rows(workspace, rows)
    with pytest.raises(DataError, match="only responses that are both chosen and rejected"):
        kto_view(workspace, "a")
    assert set(read_registry(workspace)) == {"a"}
    with pytest.raises(UsageError, match="no dataset a_kto"):
        view_names(workspace, ["a_kto"], "sft")


SMALL = st.sampled_from("甲乙丙")


@given(st.lists(st.builds(lambda s, q, c, r: Example.pair((Turn("human", q),), c, r, s), SMALL, SMALL, SMALL, SMALL)))
def test_answers_are_those_of_plain_python(given_pairs: list[Example]) -> None:
    rows = [
        ((pair.system, pair.messages, answer), label)
        for pair in given_pairs
        for answer, label in ((pair.chosen, True), (pair.rejected, False))
    ]
    seen: dict[Any, set[bool]] = defaultdict(set)
    for key, label in rows:
        seen[key].add(label)
    expected, there = [], set()
    for key, _ in rows:
        expected.append(len(seen[key]) == 1 and key not in there)
        there.add(key)
    found = single_responses(given_pairs)
    assert list(map(bool, found.wanted)) == expected
    assert found.contradictory == sum(len(seen[key]) == 2 for key, _ in rows)
    assert found.duplicates == len(rows) - found.contradictory - sum(expected)
