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
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide.console import console, say
from rlguide.engine.capabilities import can
from rlguide.engine.find import Engine, find_engine, installed_versions
from rlguide.engine.interrupts import interrupts_held
from rlguide.engine.process import EngineProcess
from rlguide.engine.worker import engine_environment, engines_home
from rlguide.errors import EngineError, UsageError, did_you_mean
from rlguide.workspace import free_bytes, locked, read_json, write_json

KNOWN = ("ppo",)
STATE = "rlguide-engine.json"
# Sorted last among the .pth files, for readers only: the order on the path is that of sys.path, own packages first.
_SHARED_PTH = "zz_rlguide_shared.pth"
_VENV_MB = 28  # a virtual environment of Python 3.11 with pip
_RESERVE_BYTES = 200 << 20
_IMPORT_SECONDS = 15  # the first import writes the bytecode of every module
_UNTOUCHED_BY_PIP = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_CONSTRAINT")

# Runs in the main engine's Python: metadata only, no import of torch.
_ASK = """
import importlib.metadata, json, os, sys
versions = {}
for name in json.loads(sys.argv[1]):
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
folders = [p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages") and os.path.isdir(p)]
base = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps({"base": base, "python": "%d.%d" % sys.version_info[:2], "folders": folders, "versions": versions}))
"""

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
class Plan:
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


def engine_folder(name: str) -> Path:
    """Where the engine of this name lies or will lie."""
    return engines_home() / name


def installed(name: str) -> Engine | None:
    """The engine of this name if rlguide has installed it whole and it still fits what it shares; else None."""
    return None if trouble(name) else _engine(engine_folder(name))


def trouble(name: str) -> str | None:
    """Why the engine of this name cannot be used, in a few words for a person; None if it can."""
    folder = engine_folder(name)
    state = _read_state(folder)
    if not state:
        return "is not installed"
    if not state.get("complete"):
        return "is installed in part only"
    python = _python(folder)
    expected = {str(key): str(value) for key, value in state.get("versions", {}).items()}
    try:
        found = _ask(python, list(expected))["versions"]
    except EngineError:
        return f"does not run: {python}"
    for key, version in expected.items():
        if found.get(key) != version:
            return f"was built with {key} {version}, and now finds {found.get(key) or 'none'}"
    return None


def engine_for(main: Engine, method: str, loss: str | None = None) -> Engine:
    """The engine that trains `method` (with `loss`): `main` if it can, else the installed one that can.

    Raises:
        EngineError: neither can; `todo` says which command or version mends it.
    """
    lack = can(main.versions, method, loss)
    if lack is None:
        return main
    if not lack.engine:
        raise EngineError(lack.what, lack.todo)
    problem = trouble(lack.engine)
    if problem:
        raise EngineError(f"{lack.what}; the engine {lack.engine!r} {problem}", lack.todo)
    return _engine(engine_folder(lack.engine))


@dataclass(frozen=True)
class KnownEngine:
    """One line of `rlguide engine list`. `engine` is None where it cannot be used; `trouble` says why then."""

    name: str
    engine: Engine | None
    trouble: str
    todo: str


def known_engines(explicit: str | None = None) -> list[KnownEngine]:
    """The main engine and those that rlguide can install, usable or not.

    Args:
        explicit: as for `find_engine`.
    """
    try:
        found = [KnownEngine("main", find_engine(explicit), "", "")]
    except EngineError as error:
        found = [KnownEngine("main", None, error.what, error.todo)]
    for name in KNOWN:
        problem = trouble(name)
        engine = None if problem else _engine(engine_folder(name))
        found.append(KnownEngine(name, engine, problem or "", f"rlguide engine install {name}" if problem else ""))
    return found


def plan_install(main: Engine, name: str) -> Plan:
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
    answer = _ask(main.python, [*watched, *(item.name for item in requirements)])
    versions: dict[str, str] = answer["versions"]
    if "torch" not in versions:
        raise EngineError(f"{main.python} has no torch to share", f"{main.python} -m pip install torch")
    own = tuple(item for item in requirements if versions.get(item.name) != item.version)
    shared = {key: value for key, value in versions.items() if key not in {item.name for item in own}}
    return Plan(
        name,
        folder,
        Path(answer["base"]),
        tuple(answer["folders"]),
        own,
        shared,
        sum(item.fetch_mb for item in own),
        _VENV_MB + sum(item.disk_mb for item in own),
    )


def install(plan: Plan) -> Engine:
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
        if "environment" not in done or not _python(plan.folder).exists():
            done.clear()
            seconds = _run("environment", [str(plan.base), "-m", "venv", "--clear", str(plan.folder)], log)
            _note(plan, state, "environment", seconds)  # --clear has removed the state too
        for item in plan.own:
            if item.pin not in done:
                _note(plan, state, item.pin, _run(item.pin, _pip(plan.folder, item), log))
        _share(plan)
        seconds = _run("check that it imports", [str(_python(plan.folder)), "-c", _CHECK], log)
        say(f"  check that it imports: {seconds:.0f} s")
        expected = {**plan.shared, **{item.name: item.version for item in plan.own}}
        write_json(plan.folder / STATE, {**state, "complete": True, "versions": expected})
        say(f"done in {time.monotonic() - started:.0f} s; log: {log}")
        problem = trouble(plan.name)
        if problem:
            raise EngineError(f"the engine {plan.name!r} {problem}", f"delete {plan.folder} and install it again")
        return _engine(plan.folder)


def _python(folder: Path) -> Path:
    return folder / "bin" / "python"


def _engine(folder: Path) -> Engine:
    return Engine(_python(folder), installed_versions(_python(folder)))


def _ask(python: Path, names: Sequence[str]) -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    command = [str(python), "-c", _ASK, json.dumps(list(names))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise EngineError(f"{python} does not run: {error}", "run `rlguide doctor`") from error


def _read_state(folder: Path) -> dict[str, Any]:
    from rlguide.errors import DataError

    try:
        state = read_json(folder / STATE)
    except DataError:  # not there, or damaged: then it is of no use
        return {}
    return state if isinstance(state, dict) else {}


def _write_state(plan: Plan, state: dict[str, Any]) -> None:
    write_json(plan.folder / STATE, {**state, "complete": False})


def _note(plan: Plan, state: dict[str, Any], step: str, seconds: float) -> None:
    """Keep that a step is done, then say so: what has been said is never done again."""
    state["done"].append(step)
    _write_state(plan, state)
    say(f"  {step}: {seconds:.0f} s")


def _begin(plan: Plan) -> dict[str, Any]:
    """The state to go on from. What is left of another recipe, or cannot be told, is removed."""
    state = _read_state(plan.folder)
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


def _check_room(plan: Plan) -> None:
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
    return [str(_python(folder)), "-m", "pip", "install", *options, item.pin]


def _share(plan: Plan) -> None:
    """Put the main engine's package folders at the end of the environment's path, and make a torchrun of its own.

    With several cards LLaMA-Factory starts `torchrun` by name. The shared torch brings no script into this
    environment, and the main engine's would start the main engine's Python.
    """
    [site] = (plan.folder / "lib").glob("python*/site-packages")
    (site / _SHARED_PTH).write_text("".join(f"{folder}\n" for folder in plan.folders), encoding="utf-8")
    torchrun = _python(plan.folder).with_name("torchrun")
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


def estimate_seconds(plan: Plan) -> float:
    """About how long it takes: measured for disk and imports on two cores, with the fetching at 5 MB/s."""
    return 5 + 2.0 * len(plan.own) + plan.fetch_mb / 5 + _IMPORT_SECONDS


def is_interactive() -> bool:
    """Whether a person can be asked: input and the messages are both on a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()
