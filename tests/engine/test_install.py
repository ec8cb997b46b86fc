"""Installing an engine: with a real pip and real environments, but empty packages."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlguide.engine import install as module
from rlguide.engine.find import Engine, find_engine
from rlguide.engine.install import install
from rlguide.engine.install_plan import plan_beside, read_requirements
from rlguide.engine.installed import engine_for, installed, known_engines, laid_over
from rlguide.engine.state import STATE, engine_folder, trouble
from rlguide.engine.worker import engine_environment
from rlguide.errors import EngineError, RlguideError, UsageError
from rlguide.locks import locked
from tests.engine.fake_engines import MAIN, main_engine, pip_reads, put, site, wheels

# What is in a folder, with sizes; bytecode aside, which Python writes by itself.
Snapshot = dict[str, int]


def snapshot(root: Path) -> Snapshot:
    files = (path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(root)): path.stat().st_size for path in files}


@pytest.fixture
def main(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A main engine, wheels for the other, and a data home without engines."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "数据 home"))
    pip_reads(monkeypatch, wheels(tmp_path / "wheels"))
    return main_engine(tmp_path / "main 引擎")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Engine, Snapshot, Snapshot]]:
    """(main, the engine installed beside it, main's files before, after). Made once."""
    root = tmp_path_factory.mktemp("whole 全")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(root / "share"))
        pip_reads(patch, wheels(root / "wheels"))
        engine = main_engine(root / "main")
        before = snapshot(engine.python.parents[1])
        other = install(plan_beside(engine, "ppo"))
        yield engine, other, before, snapshot(engine.python.parents[1])


def test_its_own_versions_win_and_torch_is_shared(whole: tuple[Engine, Engine, Snapshot, Snapshot]) -> None:
    main, other, *_ = whole
    assert other.versions["llamafactory"] == "0.9.3"
    assert other.versions["trl"] == "0.9.6"
    assert other.versions["torch"] == main.versions["torch"] == MAIN["torch"]
    where = "import torch, trl; print(torch.__file__); print(trl.__file__)"
    out = subprocess.run([str(other.python), "-c", where], capture_output=True, text=True, check=True).stdout
    torch, trl = (Path(line) for line in out.splitlines())
    assert torch.is_relative_to(site(main.python.parents[1]))
    assert trl.is_relative_to(engine_folder("ppo"))
    assert not (site(engine_folder("ppo")) / "tyro").exists()  # main has just that version: not installed twice


def test_torchrun_is_its_own(whole: tuple[Engine, Engine, Snapshot, Snapshot]) -> None:
    _, other, *_ = whole
    command = ["torchrun", "--nnodes", "a b"]  # by name, as LLaMA-Factory starts it
    done = subprocess.run(command, env=engine_environment(other), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [str(other.python), "--nnodes", "a b"]


def test_the_main_engine_stays_as_it_was(whole: tuple[Engine, Engine, Snapshot, Snapshot]) -> None:
    main, _, before, after = whole
    assert before == after
    assert find_engine(str(main.python)).versions == main.versions


def test_again_is_at_once(whole: tuple[Engine, Engine, Snapshot, Snapshot]) -> None:
    main, other, *_ = whole
    log = engine_folder("ppo").with_suffix(".log")
    size, started = log.stat().st_size, time.monotonic()
    assert install(plan_beside(main, "ppo")) == other
    assert log.stat().st_size == size > 0
    assert time.monotonic() - started < 2


def test_each_method_gets_its_engine(whole: tuple[Engine, Engine, Snapshot, Snapshot]) -> None:
    main, other, *_ = whole
    assert engine_for(main, "ppo") == other
    for method in ("dpo", "kto", "rm"):
        assert engine_for(main, method) is main
    with pytest.raises(EngineError) as error:
        engine_for(Engine(main.python, {**main.versions, "trl": "0.24.0"}), "dpo", "hinge")
    assert "0.19.1" in error.value.fix
    assert laid_over(main.python.parents[1]) == ["ppo"] and laid_over(other.python.parents[1]) == []
    assert [row.engine and row.engine.version for row in known_engines(str(main.python))] == ["0.9.5", "0.9.3"]
    with pytest.raises(EngineError):
        plan_beside(other, "ppo")  # laid over itself


def test_its_datasets_are_cached_apart_and_its_models_are_not(
    whole: tuple[Engine, Engine, Snapshot, Snapshot], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    main, other, *_ = whole
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    assert "HF_DATASETS_CACHE" not in engine_environment(main)
    assert engine_environment(other)["HF_DATASETS_CACHE"] == str(tmp_path / "hub" / "datasets-3.6.0")
    assert engine_environment(other)["HF_HOME"] == engine_environment(main)["HF_HOME"]
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "mine"))
    assert engine_environment(other)["HF_DATASETS_CACHE"] == str(tmp_path / "mine-3.6.0")


def test_a_changed_torch_is_noticed_and_fixed(main: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(plan_beside(main, "ppo"))
    put(site(main.python.parents[1]), "torch", "2.12.0")
    assert installed("ppo") is None
    assert trouble("ppo") == "was built with torch 2.11.0, and now finds 2.12.0"
    with pytest.raises(EngineError) as error:
        engine_for(find_engine(str(main.python)), "ppo")
    assert error.value.fix == "rlguide engine install ppo"
    capsys.readouterr()
    assert install(plan_beside(main, "ppo")).versions["torch"] == "2.12.0"
    said = capsys.readouterr().err
    assert "check that it imports" in said and "trl==0.9.6:" not in said  # what is its own is not installed again


def test_ctrl_c_leaves_no_process_and_the_next_goes_on(main: Engine, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("rlguide")), "engine", "install", "ppo", "--yes"]
    environment = {**os.environ, "RLGUIDE_ENGINE": str(main.python)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert process.stderr is not None
    first = []
    for line in process.stderr:
        first.append(line)
        if "tokenizers==" in line and ": " in line and line.startswith("  "):
            break
    os.kill(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=30) == 130, rest
    assert running_in(tmp_path) == []
    assert trouble("ppo") == "is installed in part only"
    with pytest.raises(EngineError, match="in part only"):
        engine_for(main, "ppo")
    again = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert again.returncode == 0, again.stderr
    assert "  environment:" in "".join(first) and "  environment:" not in again.stderr
    assert "  tokenizers==" not in again.stderr and "  trl==0.9.6:" in again.stderr
    assert engine_for(main, "ppo").versions["trl"] == "0.9.6"


def running_in(folder: Path) -> list[str]:
    """Command lines of processes that name this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def test_a_failed_step_names_the_log_and_nothing_is_used(
    main: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pip_reads(monkeypatch, wheels(tmp_path / "fewer", without="peft"))
    with pytest.raises(EngineError, match=r"peft==0\.15\.2") as error:
        install(plan_beside(main, "ppo"))
    log = engine_folder("ppo").with_suffix(".log")
    assert str(log) in error.value.fix and "peft" in log.read_text()
    assert installed("ppo") is None
    pip_reads(monkeypatch, tmp_path / "wheels")
    assert install(plan_beside(main, "ppo")).version == "0.9.3"
    # A state without a whole engine behind it counts for nothing either.
    shutil.rmtree(engine_folder("ppo") / "bin")
    assert installed("ppo") is None


def test_two_installations_do_not_meet(main: Engine) -> None:
    with locked(engine_folder("ppo")), pytest.raises(RlguideError, match="locked by another"):
        install(plan_beside(main, "ppo"))
    assert not engine_folder("ppo").exists()


def test_leftovers_of_another_recipe_are_removed(main: Engine) -> None:
    folder = engine_folder("ppo")
    folder.mkdir(parents=True)
    (folder / STATE).write_text(json.dumps({"complete": False, "recipe": "other", "done": ["environment"]}))
    (folder / "old").touch()
    install(plan_beside(main, "ppo"))
    assert not (folder / "old").exists()


def test_a_full_disk_is_seen_before_the_start(main: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda path: 50_000_000)
    with pytest.raises(EngineError, match="50 MB are free"):
        install(plan_beside(main, "ppo"))
    assert not engine_folder("ppo").exists()


def test_the_requirements_are_whole() -> None:
    pins = {item.name: item.version for item in read_requirements("ppo")}
    assert pins["llamafactory"] == "0.9.3" and pins["trl"] == "0.9.6" and pins["datasets"] == "3.6.0"
    assert list(pins)[-1] == "llamafactory"
    assert all(item.fetch_mb > 0 and item.disk_mb > 0 for item in read_requirements("ppo"))
    with pytest.raises(UsageError, match="did you mean ppo"):
        read_requirements("pop")


@pytest.mark.engine
def test_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the package index, over the real torch; 40 to 60 s. It imports what a PPO training imports."""
    main = find_engine()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    plan = plan_beside(main, "ppo")
    other = install(plan)
    assert find_engine(str(main.python)).versions == main.versions
    assert other.versions["torch"] == main.versions["torch"]
    size = sum(path.lstat().st_size for path in other.python.parents[1].rglob("*"))
    assert size < 1.5 * plan.disk_mb * 1e6
