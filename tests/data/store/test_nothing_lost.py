"""Whatever happens to the process or the disk: the registry and finished data are whole, and leftovers are cleared."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlguide.data.store import journal
from rlguide.data.store.dataset_info import read_registry
from rlguide.data.store.journal import settle
from rlguide.data.store.reading import read_examples
from rlguide.errors import RlguideError
from rlguide.workspace import Workspace
from tests.data.kill_at_random import FOREIGN, check, die_at, replace, source

COMMAND = str(Path(sys.executable).parent / "rlguide")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    root = tmp_path / "my work 工作"
    (root / "data").mkdir(parents=True)
    (root / "data" / "dataset_info.json").write_text(json.dumps(FOREIGN, ensure_ascii=False), encoding="utf-8")
    return Workspace(root)


def test_a_process_killed_at_random_moments(workspace: Workspace) -> None:
    driver = Path(__file__).parents[1] / "kill_at_random.py"
    done = subprocess.run(
        [sys.executable, str(driver), str(workspace.root), "60", "3"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["left over"] > 5, "kills that came in the middle of the work"


@pytest.mark.parametrize("step", range(12))
def test_a_kill_before_each_step_of_putting_files_in_place(workspace: Workspace, step: int) -> None:
    """So that no moment after the commit is left to chance."""
    replace(workspace, "A", 1)
    source(workspace, "B")
    child = os.fork()
    if not child:
        try:
            die_at(step)
            replace(workspace, "B", 5)  # nothing held out: the old held-out file and its entry go
        finally:
            os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert killed or step > 9
    pending = list(workspace.data.glob(".*.pending.json"))
    locks = list(workspace.data.glob(".*.dataset.lock"))
    assert not killed or pending or (step > 7 and locks), "it was committed, so it will be done; then the locks go"
    check(workspace)
    assert not (workspace.data / "数据_test.parquet").exists()
    assert next(read_examples(workspace, "数据")).chosen.startswith("B")


@pytest.mark.parametrize("taken", ["数据.parquet", "数据_test.parquet", "数据.report.json"])
def test_a_folder_in_the_place_of_a_file_is_said_and_left_alone(workspace: Workspace, taken: str) -> None:
    inside = workspace.data / taken / "part-0.parquet"
    inside.parent.mkdir()
    inside.write_text("somebody's")
    for _ in range(2):
        with pytest.raises(RlguideError, match="is a folder, not a file"):
            replace(workspace, "A", 1)
        settle(workspace)
        assert [path.name for path in workspace.data.glob(".*") if not path.name.endswith(".lock")] == []
    assert inside.read_text() == "somebody's"
    assert read_registry(workspace) == FOREIGN


def test_what_cannot_be_finished_is_said_by_every_command(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    replace(workspace, "A", 1)
    source(workspace, "B")
    child = os.fork()
    if not child:
        try:
            die_at(0)
            replace(workspace, "B", 1)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    (workspace.data / "数据.parquet").unlink()
    (workspace.data / "数据.parquet").mkdir()
    capsys.readouterr()
    settle(workspace)
    assert "an interrupted run of 数据 cannot be finished" in capsys.readouterr().err
    (workspace.data / "数据.parquet").rmdir()
    check(workspace)
    assert next(read_examples(workspace, "数据")).chosen.startswith("B")


def test_only_our_own_temporary_files_are_cleared(workspace: Workspace) -> None:
    data, elsewhere = workspace.data, workspace.root / "shared 共享"
    elsewhere.mkdir()
    (data / "dataset_info.json").rename(elsewhere / "info.json")
    (data / "dataset_info.json").symlink_to(elsewhere / "info.json")
    foreign = [data / ".notes~draft.tmp", data / ".#my~backup.tmp", elsewhere / ".other.json.abcd1234.tmp"]
    ours = [data / ".x~train-rows.tmp", data / ".数据~report.tmp", elsewhere / ".info.json.abcd1234.tmp"]
    for path in foreign + ours:
        path.write_text("…")
    settle(workspace)
    assert all(path.exists() for path in foreign)
    assert not any(path.exists() for path in ours)


def test_a_page_that_may_be_in_the_making_is_left_alone(workspace: Workspace) -> None:
    new, old = (workspace.data / f".数据.inspect.html.{end}.tmp" for end in ("abcd1234", "abcd5678"))
    for path in (new, old):
        path.write_text("…")
    os.utime(old, (1e9, 1e9))
    settle(workspace)
    assert new.exists() and not old.exists()


def limited(size: int) -> object:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("size", [0, 100, 3_000, 9_000])
def test_a_file_that_cannot_grow(workspace: Workspace, size: int) -> None:
    """Every write beyond `size` bytes fails, as on a full disk."""
    replace(workspace, "A", 1)
    before = {path.name: path.read_bytes() for path in workspace.data.glob("[!.]*")}
    rows = [{"prompt": os.urandom(8).hex(), "chosen": os.urandom(40).hex(), "rejected": "n"} for _ in range(2000)]
    (workspace.root / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run(
        [COMMAND, "register", "b.jsonl", "--name", "数据", "--force"],
        cwd=workspace.root,
        capture_output=True,
        text=True,
        preexec_fn=limited(size),  # type: ignore[arg-type]
    )
    assert done.returncode == 1, done.stderr
    error, fix = done.stderr.splitlines()[-2:]
    assert error.startswith("error: cannot write") and "free some disk space" in fix, done.stderr
    assert {path.name: path.read_bytes() for path in workspace.data.glob("[!.]*")} == before
    check(workspace)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB that is really full when it is full; needs the right to mount."""
    path = tmp_path / "small disk"
    path.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", path]).returncode:
        pytest.skip("may not mount a small disk here")
    yield path
    subprocess.run(["umount", path], check=True)


def test_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    workspace = Workspace(small_disk)
    workspace.data.mkdir()
    workspace.dataset_info.write_text(json.dumps(FOREIGN), encoding="utf-8")
    rows = [{"prompt": os.urandom(8).hex(), "chosen": os.urandom(600).hex(), "rejected": "n"} for _ in range(3000)]
    source = tmp_path / "large.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    # The check before the start would refuse this disk: what is tested is a disk that fills up later.
    program = (
        "import sys; from rlguide.data.ingest import register; from rlguide.cli import main;"
        "register.check_space = lambda *_: None; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "register", str(source), "-w", str(small_disk)], capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
    assert json.loads(workspace.dataset_info.read_text(encoding="utf-8")) == FOREIGN
    settle(workspace)
    assert sorted(path.name for path in workspace.data.glob("[!.]*")) == ["dataset_info.json"]
    assert not list(workspace.data.glob(".*.tmp"))


def test_two_at_once_make_one_whole_dataset(workspace: Workspace) -> None:
    for version in "AB":
        replace(workspace, version, 1)
    started = [
        subprocess.Popen(
            [COMMAND, "register", f"{version}.jsonl", "--name", "数据", "--force", "--keep-good"],
            cwd=workspace.root,
            stderr=subprocess.PIPE,
            text=True,
        )
        for version in "ABAB"
    ]
    errors = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0] * 4, errors
    check(workspace)


def test_what_another_is_working_on_is_left_alone(workspace: Workspace) -> None:
    from rlguide.locks import locked

    half = workspace.data / ".b~train.tmp"
    half.write_text("half")
    with locked(journal.lock_path(workspace, "b")):
        done = subprocess.run([COMMAND, "list"], cwd=workspace.root, capture_output=True, text=True)
        assert done.returncode == 0 and half.exists()
    done = subprocess.run([COMMAND, "list"], cwd=workspace.root, capture_output=True, text=True)
    assert not half.exists()
    assert "b: removed what an interrupted run had left (4 B)" in done.stderr


@pytest.mark.parametrize(
    "content", ["{", "{}", "[]", '{"name": "b", "moves": {"a": "../../x"}, "manifest": {}, "entries": {}}']
)
def test_a_pending_change_that_is_damaged_is_told(workspace: Workspace, content: str) -> None:
    (workspace.data / ".b.pending.json").write_text(content)
    done = subprocess.run([COMMAND, "list"], cwd=workspace.root, capture_output=True, text=True)
    assert done.returncode == 0
    assert "warning: an interrupted run of b cannot be finished" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dataset_may_have_any_name(workspace: Workspace) -> None:
    source(workspace, "A")
    done = subprocess.run(
        [COMMAND, "register", "A.jsonl", "--name", "dataset_info.json", "--keep-good"],
        cwd=workspace.root, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_folder_that_may_not_be_written(workspace: Workspace) -> None:
    source(workspace, "A")
    workspace.data.chmod(0o500)
    try:
        if os.access(workspace.data, os.W_OK):
            pytest.skip("root may write everywhere")
        done = subprocess.run([COMMAND, "register", "A.jsonl"], cwd=workspace.root, capture_output=True, text=True)
        assert done.returncode == 1 and "error: cannot write in" in done.stderr
    finally:
        workspace.data.chmod(0o700)


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    """What root cannot write either."""
    source(Workspace(tmp_path), "A")
    (tmp_path / "data").write_text("")
    done = subprocess.run([COMMAND, "register", "A.jsonl", "--keep-good"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: cannot write in" in done.stderr and "Traceback" not in done.stderr
