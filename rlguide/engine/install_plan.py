"""What installing an engine means: which Python, which distributions, how much to fetch. Nothing is written here."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rlguide.engine.find import Engine
from rlguide.engine.installed import BESIDE
from rlguide.engine.pins import read_pins_with_extras
from rlguide.engine.process import own_python
from rlguide.engine.state import MAIN, ask, engine_folder, is_laid_over, read_state, trouble
from rlguide.errors import EngineError, UsageError, did_you_mean, pip_install

KNOWN = (MAIN, *BESIDE)
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
_VENV_MB = 28  # a virtual environment of Python 3.11 with pip
# The main engine, measured on Linux x86-64: 160 distributions; torch and the CUDA libraries are three quarters of it.
_MAIN_FETCH_MB, _MAIN_DISK_MB = 3130.0, 6550.0
_MAIN_SECONDS = 110.0  # resolving, unpacking and compiling on two cores, besides fetching
_IMPORT_SECONDS = 15.0  # the first import writes the bytecode of every module
_MB_A_SECOND = 5.0  # an ordinary line
# What each engine's trainings import. That it imports is the proof that the parts fit.
CHECKS = {
    MAIN: "import torch, torchvision, torchaudio, trl; import llamafactory.train.tuner",
    "ppo": "import llamafactory.train.tuner; from trl import AutoModelForCausalLMWithValueHead, PPOTrainer",
}
# As in `state.ask`, nothing comes from the current folder.
_IS_FITTING = """
import sys; sys.path[:] = [folder for folder in sys.path if folder]
import ensurepip, venv
assert sys.version_info[:2] == (3, 11)
print(getattr(sys, "_base_executable", None) or sys.executable)
"""


@dataclass(frozen=True)
class Requirement:
    """One pinned distribution, with its sizes in megabytes: to fetch, and on disk (0 where they are not known)."""

    name: str
    version: str
    fetch_mb: float = 0.0
    disk_mb: float = 0.0

    @property
    def pin(self) -> str:
        """As pip writes it."""
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class InstallPlan:
    """What an installation will do.

    Attributes:
        name: of the engine, one of KNOWN.
        base: the Python that makes the environment.
        own: what is installed. Of the main engine these are the roots, and what they need comes with them.
        fetch_mb: megabytes to fetch.
        disk_mb: megabytes on disk afterwards.
        seconds: about how long it takes, with the fetching at 5 MB/s.
        folders: another engine's package folders, read from after its own.
        shared: version by name of what is shared and would break it if it changed.
        index: one more package index to take builds of torch from.
    """

    name: str
    base: Path
    own: tuple[Requirement, ...]
    fetch_mb: float
    disk_mb: float
    seconds: float
    folders: tuple[str, ...] = ()
    shared: dict[str, str] | None = None
    index: str | None = None

    @property
    def folder(self) -> Path:
        """Where it goes."""
        return engine_folder(self.name)

    @property
    def recipe(self) -> str:
        """A digest of everything that decides what is built; a state of another recipe is of no use."""
        pins = [item.pin for item in self.own]
        if self.folders:
            said: list[Any] = [str(self.base), list(self.folders), pins]
        else:  # whichever Python 3.11 made it
            said = [CONSTRAINTS.read_text(encoding="utf-8"), self.index, pins]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]

    @property
    def is_done(self) -> bool:
        """Whether just this has been installed and works."""
        return trouble(self.name) is None and read_state(self.folder).get("recipe") == self.recipe


def check_name(name: str) -> None:
    """Raise UsageError if rlguide knows no engine of that name."""
    if name not in KNOWN:
        raise UsageError(
            f"there is no engine {name!r} to install{did_you_mean(name, list(KNOWN))}",
            f"rlguide can install: {', '.join(KNOWN)}",
        )


def plan_main(python: str | None = None, index: str | None = None) -> InstallPlan:
    """What installing the main engine means.

    Args:
        python: a Python 3.11 to make it with; None for the first that is found.
        index: the address of one more package index, for another build of torch (CPU only, an older CUDA); None for
            that of the earlier installation, or none.

    Raises:
        EngineError: there is no Python 3.11.
    """
    base = find_python(python)
    pins = read_pins_with_extras("engine", "qlora", "eval")
    if not pins:
        raise EngineError("rlguide is not installed itself: its metadata is missing", pip_install("rlguide"))
    own = tuple(Requirement(name, version) for name, version in pins.items())
    index = index or read_state(engine_folder(MAIN)).get("index")
    seconds = _MAIN_SECONDS + _MAIN_FETCH_MB / _MB_A_SECOND
    return InstallPlan(MAIN, base, own, _MAIN_FETCH_MB, _MAIN_DISK_MB, seconds, index=index)


def plan_beside(main: Engine, name: str) -> InstallPlan:
    """What installing the engine `name` beside `main` means: on its torch, with what must differ of its own.

    Raises:
        UsageError: rlguide knows no engine of that name.
        EngineError: `main` does not run, has no torch, or is itself an engine laid over another.
    """
    requirements = read_requirements(name)
    if is_laid_over(main.python):
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
    fetch_mb = sum(item.fetch_mb for item in own)
    return InstallPlan(
        name,
        Path(answer["base"]),
        own,
        fetch_mb,
        _VENV_MB + sum(item.disk_mb for item in own),
        5 + 2.0 * len(own) + fetch_mb / _MB_A_SECOND + _IMPORT_SECONDS,
        tuple(answer["folders"]),
        {key: value for key, value in versions.items() if key not in {item.name for item in own}},
    )


def read_requirements(name: str) -> list[Requirement]:
    """The pins of an engine that is laid over the main one, in the order in which they are installed.

    Raises:
        UsageError: rlguide knows no engine of that name.
    """
    check_name(name)
    text = Path(__file__).with_name(f"{name}-requirements.txt").read_text(encoding="utf-8")
    found = re.findall(r"^([\w.-]+)==(\S+)\s+# ([\d.]+) MB, ([\d.]+) MB$", text, flags=re.MULTILINE)
    return [Requirement(item[0], item[1], float(item[2]), float(item[3])) for item in found]


def find_python(named: str | None = None) -> Path:
    """A Python 3.11 with venv and pip's installer, which the tested versions of the main engine are for.

    The first of: `named`; the one rlguide runs on; python3.11, python3 and python on PATH; uv's.

    Raises:
        EngineError: none is found, or `named` is not one.
    """
    for candidate in [named] if named else _pythons():
        try:
            done = subprocess.run([candidate, "-c", _IS_FITTING], capture_output=True, text=True, timeout=30)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:  # a shim of pyenv exists, and fails, for a version that is not chosen
            return Path(done.stdout.strip())
    uv = _uv()
    if named:
        what = f"{named} is not a Python 3.11 with the modules venv and ensurepip"
    else:
        what = f"no Python 3.11 was found for the engine (rlguide runs on {sys.version.split()[0]})"
    install = " ".join([*(uv or [f"{pip_install('uv')} && {sys.executable} -m uv"]), "python install 3.11"])
    raise EngineError(what, install)


def _pythons() -> Iterator[str]:
    yield sys.executable
    yield from ("python3.11", "python3", "python")
    if uv := _uv():
        done = subprocess.run([*uv, "python", "find", "3.11"], capture_output=True, text=True)
        if done.returncode == 0:
            yield done.stdout.strip()


def _uv() -> list[str]:
    """The command of uv, the installer of Pythons, on PATH or in this environment; empty if there is none."""
    if path := shutil.which("uv"):
        return [path]
    return list(own_python("uv")) if find_spec("uv") else []
