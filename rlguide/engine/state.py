"""Where rlguide installs engines, and what their state files say: only one that is complete is ever used."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlguide.errors import DataError, EngineError
from rlguide.workspace import read_json, user_data

MAIN = "main"
STATE = "rlguide-engine.json"
INSTALL_HINT = (
    "`rlguide engine install`, or name an environment that has LLaMA-Factory in it with --engine or RLGUIDE_ENGINE"
)
# Runs in the engine's Python: metadata only, no import of torch, a few hundredths of a second.
# The first line: nothing is imported from the current folder, which may hold a json.py of somebody else's; -P and -I
# are not for every Python that may be asked, or leave out folders of packages.
_ASK = """
import sys; sys.path[:] = [folder for folder in sys.path if folder]
import importlib.metadata, json, os
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
folders = [p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages") and os.path.isdir(p)]
base = getattr(sys, "_base_executable", None) or sys.executable
python = "%d.%d.%d" % sys.version_info[:3]
print(json.dumps({"base": base, "folders": folders, "versions": versions, "python": python}))
"""


def engines_home() -> Path:
    """Where rlguide installs engines, each in a folder of its name."""
    return user_data() / "engines"


def engine_folder(name: str) -> Path:
    """Where the engine of this name lies or will lie."""
    return engines_home() / name


def python_of(folder: Path) -> Path:
    """The interpreter of an environment."""
    return folder / "bin" / "python"


def is_laid_over(python: Path) -> bool:
    """Whether this is the Python of an engine that rlguide laid over another one's torch."""
    return python.is_relative_to(engines_home()) and not python.is_relative_to(engine_folder(MAIN))


def trouble(name: str) -> str | None:
    """Why the engine of this name cannot be used, in a few words for a person; None if it can."""
    folder = engine_folder(name)
    state = read_state(folder)
    if not state:
        return "is not installed"
    if not state.get("complete"):
        return "is installed in part only"
    python = python_of(folder)
    noted = state.get("versions")
    expected = {str(key): str(value) for key, value in noted.items()} if isinstance(noted, dict) else {}
    try:
        found = ask(python, ["llamafactory", *expected])["versions"]
    except EngineError:
        return f"does not run: {python}"
    for key, version in expected.items():
        if found.get(key) != version:
            return f"was built with {key} {version}, and now finds {found.get(key) or 'none'}"
    return None if "llamafactory" in found else "has no LLaMA-Factory in it"


def read_state(folder: Path) -> dict[str, Any]:
    """What the installation in `folder` has noted; empty if there is nothing usable."""
    try:
        state = read_json(folder / STATE)
    except DataError:  # not there, or damaged: then it is of no use
        return {}
    return state if isinstance(state, dict) else {}


def ask(python: Path, names: Sequence[str]) -> dict[str, Any]:
    """What an interpreter says of itself.

    Returns:
        "base": the Python its environment was made with, "folders": its package folders, "versions": installed
        version by name, of the distributions `names`, "python": its own version.

    Raises:
        EngineError: it does not run.
    """
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run([str(python), "-c", _ASK, *names], capture_output=True, timeout=60, env=environment)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{python} does not run: {error}", INSTALL_HINT) from error
    if done.returncode != 0:
        last = (done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise EngineError(f"{python} does not run: {last}", INSTALL_HINT)
    return _checked_answer(python, done.stdout)


def _checked_answer(python: Path, printed: bytes) -> dict[str, Any]:
    """What an interpreter printed, if it is an answer at all: what is taken for an engine may be any program."""
    try:
        answer = json.loads(printed)
        versions, folders = answer["versions"], answer["folders"]
        texts = [answer["base"], *folders, *versions, *versions.values()]
        is_answer = isinstance(folders, list) and all(isinstance(text, str) for text in texts)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        is_answer = False
    if not is_answer:
        raise EngineError(f"{python} does not answer as a Python does", INSTALL_HINT)
    result: dict[str, Any] = answer
    return result
