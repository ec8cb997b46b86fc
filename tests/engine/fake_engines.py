"""A main engine without its weight: a real virtual environment with metadata and empty packages, and wheels for pip."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rlguide.engine.find import Engine, find_engine
from rlguide.engine.install_plan import CONSTRAINTS, read_requirements
from rlguide.engine.pins import read_pins

MAIN = {
    "llamafactory": "0.9.5",
    "torch": "2.11.0",
    "trl": "0.19.1",
    "transformers": "4.57.6",
    "datasets": "4.0.0",
    "huggingface_hub": "0.36.2",
    "tyro": "0.8.14",
}
# What the check after the installation imports.
CODE = {
    "llamafactory": {"llamafactory/__init__.py": "import torch\n", "llamafactory/train/tuner.py": "import trl\n"},
    "trl": {"trl/__init__.py": "class PPOTrainer: ...\nclass AutoModelForCausalLMWithValueHead: ...\n"},
}


def site(root: Path) -> Path:
    """The package folder of an environment."""
    [found] = (root / "lib").glob("python*/site-packages")
    return found


def put(folder: Path, name: str, version: str) -> None:
    """An empty distribution of this name and version in a package folder, instead of any other version."""
    for old in folder.glob(f"{name}-*.dist-info"):
        (old / "METADATA").unlink()
        old.rmdir()
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "__init__.py").touch()


def main_engine(root: Path) -> Engine:
    """A main engine in a new environment at `root`."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(root)], check=True)
    for name, version in MAIN.items():
        put(site(root), name, version)
    runner = site(root) / "torch/distributed/run.py"
    runner.parent.mkdir()
    runner.write_text("import json, sys\nprint(json.dumps([sys.executable, *sys.argv[1:]]))\n")
    (root / "bin/llamafactory-cli").touch()
    return find_engine(str(root))


def wheels(folder: Path, without: str = "") -> Path:
    """A wheel for each requirement of the PPO engine (but `without`), that a real pip installs."""
    folder.mkdir(parents=True)
    for item in read_requirements("ppo"):
        if item.name != without:
            wheel(folder, item.name, item.version)
    return folder


def main_wheels(folder: Path) -> Path:
    """A wheel for each pin of the main engine; llamafactory needs einops, in the tested version and in a newer one."""
    folder.mkdir(parents=True)
    for name, version in read_pins("engine", "qlora", "eval").items():
        wheel(folder, name, version, "Requires-Dist: einops\n" if name == "llamafactory" else "")
    [tested] = re.findall(r"^einops==(.*)$", CONSTRAINTS.read_text(), flags=re.MULTILINE)
    for version in (tested, "99.0"):
        wheel(folder, "einops", version)
    return folder


def wheel(folder: Path, name: str, version: str, headers: str = "") -> Path:
    """A wheel of this name and version, with the code of CODE or none."""
    info = f"{name}-{version}.dist-info"
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for member, code in CODE.get(name, {f"{name}/__init__.py": ""}).items():
            file.writestr(member, code)
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{headers}")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def pip_reads(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let pip find these wheels and nothing else."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
