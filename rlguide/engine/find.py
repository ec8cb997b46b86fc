"""Find the engine: a Python environment that has LLaMA-Factory in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from rlguide.errors import EngineError

# The distributions whose versions decide what the engine can do.
WATCHED = (
    "llamafactory",
    "torch",
    "torchvision",
    "torchaudio",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "huggingface_hub",
    "deepspeed",
    "bitsandbytes",
    "unsloth",
    "lm_eval",
)

# Runs in the engine's Python. It only reads metadata: no import of torch, a few hundredths of a second.
_ASK_VERSIONS = """
import importlib.metadata, json, sys
versions = {}
for name in sys.argv[1:]:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(versions))
"""

INSTALL_HINT = (
    "install it with `pip install 'rlguide[engine]'`, "
    "or name an environment that has it with --engine or RLGUIDE_ENGINE"
)


@dataclass(frozen=True)
class Engine:
    """An environment that can run LLaMA-Factory.

    Attributes:
        python: its interpreter.
        versions: installed version by distribution name, of those in `WATCHED`.
    """

    python: Path
    versions: dict[str, str] = field(hash=False)

    @property
    def cli(self) -> Path:
        """The `llamafactory-cli` script beside the interpreter."""
        return self.python.parent / "llamafactory-cli"

    @property
    def version(self) -> str:
        """The version of LLaMA-Factory."""
        return self.versions["llamafactory"]


def find_engine(explicit: str | None = None) -> Engine:
    """Find the engine: `explicit` (or RLGUIDE_ENGINE), else this environment, else `llamafactory-cli` on PATH.

    Args:
        explicit: folder of an environment, its python, or its llamafactory-cli.

    Raises:
        EngineError: none found, or what was named has no LLaMA-Factory in it.
    """
    named = explicit or os.environ.get("RLGUIDE_ENGINE")
    if named:
        python = _python_of(Path(named).expanduser())
        versions = installed_versions(python)
        if "llamafactory" not in versions:
            raise EngineError(f"{python} has no LLaMA-Factory in it", INSTALL_HINT)
        return Engine(python, versions)
    candidates = [Path(sys.executable)]
    on_path = shutil.which("llamafactory-cli")
    if on_path:
        candidates.append(_python_of(Path(on_path)))
    for python in candidates:
        versions = installed_versions(python)
        if "llamafactory" in versions:
            return Engine(python, versions)
    raise EngineError("LLaMA-Factory is not installed here", INSTALL_HINT)


def _python_of(path: Path) -> Path:
    """The interpreter meant by a folder, an interpreter or a `llamafactory-cli` script.

    The path is made absolute but links are not followed: a virtual environment's python is a link.
    """
    path = path.absolute()
    if path.is_dir():
        for candidate in (path / "bin" / "python", path / "python"):
            if candidate.is_file():
                return candidate
        raise EngineError(f"{path} is not an environment: it has no bin/python", INSTALL_HINT)
    if not path.is_file():
        raise EngineError(f"the engine {path} does not exist", INSTALL_HINT)
    if path.name.startswith("python"):
        return path
    beside = path.parent / "python"
    if beside.is_file():
        return beside
    first = path.read_bytes().split(b"\n", 1)[0]
    if first.startswith(b"#!") and b"python" in first:
        return Path(os.fsdecode(first[2:].strip().split(b" ")[0]))
    raise EngineError(f"cannot tell which Python runs {path}", "name that environment's folder or python instead")


def installed_versions(python: Path) -> dict[str, str]:
    """Versions of the distributions in `WATCHED` that `python` has. Raises EngineError if it does not run."""
    try:
        done = subprocess.run(
            [str(python), "-c", _ASK_VERSIONS, *WATCHED],
            capture_output=True,
            text=True,
            timeout=60,
            env={k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{python} does not run: {error}", INSTALL_HINT) from error
    if done.returncode != 0:
        raise EngineError(f"{python} does not run: {done.stderr.strip().splitlines()[-1:]}", INSTALL_HINT)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions
