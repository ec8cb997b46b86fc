"""What rlguide starts of itself imports nothing from the workspace, which may be somebody else's."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import rlguide
from rlguide.engine.process import own_python


def test_modules_of_the_folder_are_not_imported(tmp_path: Path) -> None:
    for name in ("rlguide", "typer", "yaml", "json"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(rlguide.__file__).parents[1])}
    subprocess.run(own_python("rlguide", "methods"), cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert not (tmp_path / "ran").exists()


def test_its_command_has_one_address() -> None:
    """Another would be written without -P some day."""
    package = Path(rlguide.__file__).parent
    texts = {path.relative_to(package): path.read_text(encoding="utf-8") for path in package.rglob("*.py")}
    found = [str(path) for path, text in texts.items() if re.search(r'sys\.executable\)?, "-[Pm]"', text)]
    assert found == ["engine/process.py"]
