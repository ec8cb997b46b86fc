"""A main engine without its weight: a real virtual environment with metadata and empty packages, and wheels for pip."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from rlguide.engine.find import Engine, find_engine
from rlguide.engine.install import read_requirements

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
        if item.name == without:
            continue
        info = f"{item.name}-{item.version}.dist-info"
        with zipfile.ZipFile(folder / f"{item.name}-{item.version}-py3-none-any.whl", "w") as file:
            for path, code in CODE.get(item.name, {f"{item.name}/__init__.py": ""}).items():
                file.writestr(path, code)
            head = "Metadata-Version: 2.1\n"
            file.writestr(f"{info}/METADATA", f"{head}Name: {item.name}\nVersion: {item.version}\n")
            file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            file.writestr(f"{info}/RECORD", "")
    return folder


def pip_reads(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let pip find these wheels and nothing else."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
