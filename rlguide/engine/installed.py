"""Engines that rlguide installed: where they are, whether they are complete, which one a method needs."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide.engine.capabilities import can
from rlguide.engine.find import Engine, find_engine, installed_versions
from rlguide.engine.worker import engines_home
from rlguide.errors import EngineError
from rlguide.workspace import read_json

KNOWN = ("ppo",)
STATE = "rlguide-engine.json"
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


def engine_folder(name: str) -> Path:
    """Where the engine of this name lies or will lie."""
    return engines_home() / name


def installed(name: str) -> Engine | None:
    """The engine of this name if rlguide has installed it whole and it still fits what it shares; else None."""
    return None if trouble(name) else engine_at(engine_folder(name))


def trouble(name: str) -> str | None:
    """Why the engine of this name cannot be used, in a few words for a person; None if it can."""
    folder = engine_folder(name)
    state = read_state(folder)
    if not state:
        return "is not installed"
    if not state.get("complete"):
        return "is installed in part only"
    python = python_of(folder)
    expected = {str(key): str(value) for key, value in state.get("versions", {}).items()}
    try:
        found = ask(python, list(expected))["versions"]
    except EngineError:
        return f"does not run: {python}"
    for key, version in expected.items():
        if found.get(key) != version:
            return f"was built with {key} {version}, and now finds {found.get(key) or 'none'}"
    return None


def engine_for(main: Engine, method: str, loss: str | None = None) -> Engine:
    """The engine that trains `method` (with `loss`): `main` if it can, else the installed one that can.

    Raises:
        EngineError: neither can; `fix` says which command or version mends it.
    """
    limitation = can(main.versions, method, loss)
    if limitation is None:
        return main
    if not limitation.engine:
        raise EngineError(limitation.what, limitation.fix)
    problem = trouble(limitation.engine)
    if problem:
        raise EngineError(f"{limitation.what}; the engine {limitation.engine!r} {problem}", limitation.fix)
    return engine_at(engine_folder(limitation.engine))


@dataclass(frozen=True)
class KnownEngine:
    """One line of `rlguide engine list`. `engine` is None where it cannot be used; `trouble` says why then."""

    name: str
    engine: Engine | None
    trouble: str
    fix: str


def known_engines(explicit: str | None = None) -> list[KnownEngine]:
    """The main engine and those that rlguide can install, usable or not.

    Args:
        explicit: as for `find_engine`.
    """
    try:
        found = [KnownEngine("main", find_engine(explicit), "", "")]
    except EngineError as error:
        found = [KnownEngine("main", None, error.what, error.fix)]
    for name in KNOWN:
        problem = trouble(name)
        engine = None if problem else engine_at(engine_folder(name))
        found.append(KnownEngine(name, engine, problem or "", f"rlguide engine install {name}" if problem else ""))
    return found


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def engine_at(folder: Path) -> Engine:
    return Engine(python_of(folder), installed_versions(python_of(folder)))


def ask(python: Path, names: Sequence[str]) -> dict[str, Any]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    command = [str(python), "-c", _ASK, json.dumps(list(names))]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise EngineError(f"{python} does not run: {error}", "run `rlguide doctor`") from error


def read_state(folder: Path) -> dict[str, Any]:
    from rlguide.errors import DataError

    try:
        state = read_json(folder / STATE)
    except DataError:  # not there, or damaged: then it is of no use
        return {}
    return state if isinstance(state, dict) else {}
