"""Install an engine of its own for what the main one refuses (PPO), beside it and without touching it.

It is a virtual environment of the main engine's Python that holds only what must differ; everything else (torch, the
CUDA libraries, pyarrow ...) is read from the main engine through a .pth file, which comes after the environment's own
packages on the path. So it costs 160 MB instead of 6 GB, and both engines run on the same torch.

A state file says what is done. Only an engine whose state says it is complete is ever used; an installation that was
cut off goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide.console import console, say
from rlguide.engine.find import Engine
from rlguide.engine.installed import (
    KNOWN,
    STATE,
    ask,
    engine_at,
    engine_folder,
    installed,
    python_of,
    read_state,
    trouble,
)
from rlguide.engine.interrupts import interrupts_held
from rlguide.engine.process import EngineProcess
from rlguide.engine.worker import engine_environment, engines_home
from rlguide.errors import EngineError, UsageError, did_you_mean
from rlguide.locks import locked
from rlguide.workspace import free_bytes, write_json

# Sorted last among the .pth files, for readers only: the order on the path is that of sys.path, own packages first.
_SHARED_PTH = "zz_rlguide_shared.pth"
_VENV_MB = 28  # a virtual environment of Python 3.11 with pip
_RESERVE_BYTES = 200 << 20
_IMPORT_SECONDS = 15  # the first import writes the bytecode of every module
_UNTOUCHED_BY_PIP = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_CONSTRAINT")
# What a PPO run imports. That it imports is the proof that the two halves fit.
_CHECK = "import llamafactory.train.tuner; from trl import AutoModelForCausalLMWithValueHead, PPOTrainer"

_TORCHRUN = """#!/bin/sh
exec "$(dirname "$0")/python" -m torch.distributed.run "$@"
"""


@dataclass(frozen=True)
class Requirement:
    """One pinned distribution, with its sizes in megabytes: to fetch, and on disk."""

    name: str
    version: str
    fetch_mb: float
    disk_mb: float

    @property
    def pin(self) -> str:
        """As pip writes it."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class InstallPlan:
    """What an installation will do.

    Attributes:
        name: of the engine, one of KNOWN.
        folder: where it goes.
        base: the Python that makes the environment: the one below the main engine's.
        folders: the main engine's package folders, read from after its own.
        own: what is installed; what the main engine has in just that version is shared.
        shared: version by name of what is shared and would break it if it changed.
        fetch_mb: megabytes to fetch.
        disk_mb: megabytes on disk afterwards.
    """

    name: str
    folder: Path
    base: Path
    folders: tuple[str, ...]
    own: tuple[Requirement, ...]
    shared: dict[str, str]
    fetch_mb: float
    disk_mb: float

    @property
    def recipe(self) -> str:
        """A digest of everything that decides what is built; a state of another recipe is of no use."""
        said = [str(self.base), list(self.folders), [item.pin for item in self.own]]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def read_requirements(name: str) -> list[Requirement]:
    """The pins of an engine, in the order in which they are installed.

    Raises:
        UsageError: rlguide knows no engine of that name.
    """
    if name not in KNOWN:
        raise UsageError(
            f"there is no engine {name!r} to install{did_you_mean(name, list(KNOWN))}",
            f"rlguide can install: {', '.join(KNOWN)}",
        )
    text = Path(__file__).with_name(f"{name}-requirements.txt").read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)==(\S+)\s+# ([\d.]+) MB, ([\d.]+) MB$", text, flags=re.MULTILINE)
    return [Requirement(item[0], item[1], float(item[2]), float(item[3])) for item in found]


def plan_install(main: Engine, name: str) -> InstallPlan:
    """What installing the engine `name` beside `main` means. Nothing is written.

    Raises:
        UsageError: rlguide knows no engine of that name.
        EngineError: `main` does not run, has no torch, or is itself an engine laid over another.
    """
    requirements = read_requirements(name)
    folder = engine_folder(name)
    if main.python.is_relative_to(engines_home()):
        raise EngineError(
            f"{main.python} is itself an engine that rlguide laid over another",
            "name the main one with --engine or RLGUIDE_ENGINE",
        )
    watched = ("torch", "numpy", "pyarrow", "safetensors", "fsspec")
    answer = ask(main.python, [*watched, *(item.name for item in requirements)])
    versions: dict[str, str] = answer["versions"]
    if "torch" not in versions:
        raise EngineError(f"{main.python} has no torch to share", f"{main.python} -m pip install torch")
    own = tuple(item for item in requirements if versions.get(item.name) != item.version)
    shared = {key: value for key, value in versions.items() if key not in {item.name for item in own}}
    return InstallPlan(
        name,
        folder,
        Path(answer["base"]),
        tuple(answer["folders"]),
        own,
        shared,
        sum(item.fetch_mb for item in own),
        _VENV_MB + sum(item.disk_mb for item in own),
    )


def install(plan: InstallPlan) -> Engine:
    """Carry out a plan; at once if it has been carried out before. Says each step with its seconds on stderr.

    What was done before a Ctrl-C, a lost connection or a full disk is not done again. The log is
    `<engines>/<name>.log`.

    Raises:
        EngineError: a step failed; it names the log. Nothing incomplete is ever used.
        RlguideError: another installation of the same engine runs.
    """
    with locked(plan.folder, timeout=1.0):
        if engine := installed(plan.name):
            return engine
        _check_room(plan)
        started = time.monotonic()
        log = plan.folder.with_suffix(".log")
        state = _begin(plan)
        done: list[str] = state["done"]
        if "environment" not in done or not python_of(plan.folder).exists():
            done.clear()
            seconds = _run("environment", [str(plan.base), "-m", "venv", "--clear", str(plan.folder)], log)
            _note(plan, state, "environment", seconds)  # --clear has removed the state too
        for item in plan.own:
            if item.pin not in done:
                _note(plan, state, item.pin, _run(item.pin, _pip(plan.folder, item), log))
        _share(plan)
        seconds = _run("check that it imports", [str(python_of(plan.folder)), "-c", _CHECK], log)
        say(f"  check that it imports: {seconds:.0f} s")
        expected = {**plan.shared, **{item.name: item.version for item in plan.own}}
        write_json(plan.folder / STATE, {**state, "complete": True, "versions": expected})
        say(f"done in {time.monotonic() - started:.0f} s; log: {log}")
        problem = trouble(plan.name)
        if problem:
            raise EngineError(f"the engine {plan.name!r} {problem}", f"delete {plan.folder} and install it again")
        return engine_at(plan.folder)


def _write_state(plan: InstallPlan, state: dict[str, Any]) -> None:
    write_json(plan.folder / STATE, {**state, "complete": False})


def _note(plan: InstallPlan, state: dict[str, Any], step: str, seconds: float) -> None:
    """Keep that a step is done, then say so: what has been said is never done again."""
    state["done"].append(step)
    _write_state(plan, state)
    say(f"  {step}: {seconds:.0f} s")


def _begin(plan: InstallPlan) -> dict[str, Any]:
    """The state to go on from. What is left of another recipe, or cannot be told, is removed."""
    state = read_state(plan.folder)
    if state.get("recipe") == plan.recipe and isinstance(state.get("done"), list):
        _write_state(plan, state)  # no longer complete, until it is checked again
        return state
    if plan.folder.is_symlink():
        raise EngineError(f"{plan.folder} is a link", "remove it, then install again")
    if plan.folder.exists():
        say(f"removing what is left of another installation in {plan.folder}")
        shutil.rmtree(plan.folder)
    state = {"recipe": plan.recipe, "done": [], "folders": list(plan.folders)}
    _write_state(plan, state)
    return state


def _check_room(plan: InstallPlan) -> None:
    free = free_bytes(plan.folder)
    needed = int(plan.disk_mb * 1e6) + _RESERVE_BYTES
    if free < needed:
        raise EngineError(
            f"{free / 1e6:.0f} MB are free at {engines_home()}, and the installation needs {needed / 1e6:.0f} MB",
            "free some space, or name another place with XDG_DATA_HOME",
        )


def _pip(folder: Path, item: Requirement) -> list[str]:
    """Only this distribution, over whatever a broken attempt left of it; its dependencies are the main engine's."""
    options = ("--no-deps", "--ignore-installed", "--no-input", "--disable-pip-version-check", "--progress-bar", "off")
    return [str(python_of(folder)), "-m", "pip", "install", *options, item.pin]


def _share(plan: InstallPlan) -> None:
    """Put the main engine's package folders at the end of the environment's path, and make a torchrun of its own.

    With several cards LLaMA-Factory starts `torchrun` by name. The shared torch brings no script into this
    environment, and the main engine's would start the main engine's Python.
    """
    [site] = (plan.folder / "lib").glob("python*/site-packages")
    (site / _SHARED_PTH).write_text("".join(f"{folder}\n" for folder in plan.folders), encoding="utf-8")
    torchrun = python_of(plan.folder).with_name("torchrun")
    torchrun.write_text(_TORCHRUN, encoding="utf-8")
    torchrun.chmod(0o755)


def _run(label: str, command: list[str], log: Path) -> float:
    """Run one command into the log, counting its seconds on the screen, and return them. Raises EngineError."""
    engine = Engine(Path(command[0]), {})
    environment = engine_environment(engine, CUDA_VISIBLE_DEVICES="")
    for name in _UNTOUCHED_BY_PIP:
        environment.pop(name, None)
    started = time.monotonic()
    last = ""
    with ExitStack() as stack:
        with interrupts_held():
            process = stack.enter_context(EngineProcess(command, Path(command[0]).parent, environment, log))
        status = stack.enter_context(console(stderr=True).status(label))
        for line in process.lines():
            last = line.strip() if line else last
            status.update(f"{label}: {time.monotonic() - started:.0f} s")
    if process.returncode != 0:
        raise EngineError(
            f"installing the engine failed at {label}: {last[:300] or 'no output'}",
            f"see {log}, then run the same command again: what is done is kept",
        )
    return time.monotonic() - started


def estimate_seconds(plan: InstallPlan) -> float:
    """About how long it takes: measured for disk and imports on two cores, with the fetching at 5 MB/s."""
    return 5 + 2.0 * len(plan.own) + plan.fetch_mb / 5 + _IMPORT_SECONDS


def is_interactive() -> bool:
    """Whether a person can be asked: input and the messages are both on a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()
