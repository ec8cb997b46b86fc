"""Installing the main engine: with a real pip and real environments, but empty packages."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.engine import install as module
from rlguide.engine.find import Engine, find_engine
from rlguide.engine.install import install, remove
from rlguide.engine.install_plan import InstallPlan, find_python, plan_beside, plan_main
from rlguide.engine.pins import mismatches, read_pins
from rlguide.engine.state import MAIN, engine_folder, read_state, trouble
from rlguide.engine.worker import engine_environment
from rlguide.errors import EngineError
from tests.cli.command import run
from tests.engine.fake_engines import main_wheels, pip_reads, wheel

RLGUIDE = [sys.executable, "-m", "rlguide", "engine"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return main_wheels(tmp_path_factory.mktemp("index") / "wheels")


@pytest.fixture
def home(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data home without engines; pip finds the wheels, and rlguide runs where no LLaMA-Factory is."""
    alone(monkeypatch, tmp_path / "数据 home", store)
    return tmp_path / "数据 home"


def alone(patch: pytest.MonkeyPatch, home: Path, store: Path) -> None:
    patch.setenv("XDG_DATA_HOME", str(home))
    patch.setenv("PATH", "/usr/bin:/bin")
    patch.delenv("RLGUIDE_ENGINE", raising=False)
    patch.setattr(sys, "executable", getattr(sys, "_base_executable", sys.executable))
    pip_reads(patch, store)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, store: Path) -> Iterator[tuple[InstallPlan, Engine]]:
    """The plan, and the engine made by it. Once."""
    with pytest.MonkeyPatch.context() as patch:
        alone(patch, tmp_path_factory.mktemp("whole 全"), store)
        plan = plan_main()
        yield plan, install(plan)


def test_it_is_found_by_itself_and_is_as_tested(whole: tuple[InstallPlan, Engine]) -> None:
    plan, engine = whole
    assert find_engine() == engine and engine.python.is_relative_to(engine_folder(MAIN))
    assert mismatches(engine.versions, read_pins()) == []
    assert "einops==99.0" not in read_state(plan.folder)["pins"]  # the constraints choose what the pins leave open
    assert any(pin.startswith("einops==") for pin in read_state(plan.folder)["pins"])
    assert "HF_DATASETS_CACHE" not in engine_environment(engine)  # shared with every other engine of its versions


def test_it_is_the_last_that_is_looked_for(
    whole: tuple[InstallPlan, Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, engine = whole
    other = tmp_path / "bin" / "llamafactory-cli"
    other.parent.mkdir()
    for path in (other, other.parent / "python"):
        path.write_text(f'#!/bin/sh\nexec {shlex.quote(str(engine.python))} "$@"\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{other.parent}:/usr/bin:/bin")
    assert find_engine().python == other.parent / "python"
    monkeypatch.setenv("RLGUIDE_ENGINE", str(engine.python))
    assert find_engine() == engine


def test_again_is_at_once(whole: tuple[InstallPlan, Engine]) -> None:
    plan, engine = whole
    started, size = time.monotonic(), plan.folder.with_suffix(".log").stat().st_size
    assert plan_main().is_done and install(plan_main()) == engine
    assert plan.folder.with_suffix(".log").stat().st_size == size > 0
    assert time.monotonic() - started < 3
    assert not plan_main(index="https://other.example/simple").is_done  # another torch is another engine
    assert not list(plan.folder.parent.glob(".*"))  # no lock is left


def test_another_engine_is_laid_over_it(whole: tuple[InstallPlan, Engine]) -> None:
    plan, engine = whole
    beside = plan_beside(engine, "ppo")
    assert beside.base == plan.base
    assert beside.folders and all(Path(folder).is_relative_to(plan.folder) for folder in beside.folders)


def test_a_kill_leaves_nothing_in_the_way(home: Path) -> None:
    """`kill -9` spares the children, which go on writing; the next run stops them and resumes."""
    process = subprocess.Popen([*RLGUIDE, "install", "--yes"], stderr=subprocess.DEVNULL)
    notes = engine_folder(MAIN).with_name(f".{MAIN}.steps")
    site = engine_folder(MAIN) / "lib"
    deadline = time.monotonic() + 60
    while not (notes.exists() and notes.read_text().strip() and site.exists()):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    child = int(notes.read_text())
    os.kill(child, 0)  # it lives, and has the folder half made
    assert trouble(MAIN) == "is installed in part only"
    with pytest.raises(EngineError, match="in part only"):
        find_engine()
    again = subprocess.run([*RLGUIDE, "install", "--yes"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "stopping what a killed installation left" in again.stderr and "ready: " in again.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    removed = subprocess.run([*RLGUIDE, "remove", "main", "--yes"], capture_output=True, text=True)
    assert removed.returncode == 0, removed.stderr
    assert list(engine_folder(MAIN).parent.iterdir()) == []


def test_a_step_that_was_cut_off_is_done_again_and_no_other(
    home: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a network it says so, and what is done is kept."""
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(EngineError, match="the package index cannot be reached") as error:
        install(plan_main())
    assert "rlguide engine install main" in error.value.fix
    assert "environment:" in capsys.readouterr().err
    pip_reads(monkeypatch, store)
    install(plan_main())
    said = capsys.readouterr().err
    assert "environment:" not in said and "choose versions:" in said
    assert remove(MAIN) > 0 and remove(MAIN) == 0


def test_another_build_of_torch(home: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--torch-index: one more index, whose builds for the CPU come before the usual ones."""
    index = tmp_path / "cpu"
    for name in ("torch", "torchvision", "torchaudio"):
        (index / name).mkdir(parents=True)
        path = wheel(index / name, name, f"{read_pins()[name]}+cpu")
        (index / name / "index.html").write_text(f"<a href='{path.name.replace('+', '%2B')}'>{path.name}</a>")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "empty").as_uri())
    engine = install(plan_main(index=index.as_uri()))
    assert engine.versions["torch"] == f"{read_pins()['torch']}+cpu"
    assert mismatches(engine.versions, read_pins()) == []
    assert plan_main().is_done  # remembers its index


def test_too_little_disk_is_said_before_anything_is_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "free_bytes", lambda path: 5_000_000_000)
    with pytest.raises(EngineError, match="5,000 MB are free"):
        install(plan_main())
    assert not engine_folder(MAIN).exists()


def test_it_says_what_it_costs_before_it_starts(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("engine", "install") == 2
    said = capsys.readouterr().err
    assert "torch==" in said and "MB on disk" in said and "minutes" in said
    assert "fix: rlguide engine install main --yes" in said
    assert run("engine", "install", "ppo", "--torch-index", "x") == 2


def test_remove_asks_and_knows_its_engines(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("engine", "remove", "main", "--yes") == 0
    assert "is not installed" in capsys.readouterr().err
    (engine_folder(MAIN)).mkdir(parents=True)
    assert run("engine", "remove", "main") == 2
    assert engine_folder(MAIN).exists()
    assert run("engine", "remove", "mian", "--yes") == 2
    assert "did you mean main" in capsys.readouterr().err


def test_which_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shim of pyenv exists for each version, and fails for one that is not chosen."""
    real = find_python()
    shims = tmp_path / "shims"
    shims.mkdir()
    for name in ("python3.11", "python3", "python"):
        (shims / name).write_text('#!/bin/sh\necho "pyenv: $0: command not found" >&2\nexit 127\n')
        (shims / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(shims))
    monkeypatch.setattr(sys, "executable", str(shims / "python"))
    with pytest.raises(EngineError, match=r"no Python 3\.11") as error:
        find_python()
    assert error.value.fix.endswith("uv python install 3.11")
    with pytest.raises(EngineError, match="is not a Python"):
        find_python(str(shims / "python3"))
    uv = shims / "uv"  # finds one of its own
    uv.write_text(f"#!/bin/sh\necho {shlex.quote(str(real))}\n")
    uv.chmod(0o755)
    assert find_python() == real
    assert find_python(str(real)) == real


PINS = st.lists(st.sampled_from(["torch==1", "triton==2", "nvidia-nccl==3", "einops==4", "trl==5"]), max_size=90)


@given(PINS, st.booleans())
def test_batches_hold_each_pin_once(pins: list[str], one_by_one: bool) -> None:
    batches = list(module._batches(pins, one_by_one))
    assert sorted(pin for batch in batches for pin in batch) == sorted(pins)
    assert all(batches) and all(len(batch) == 1 for batch in batches if one_by_one)
