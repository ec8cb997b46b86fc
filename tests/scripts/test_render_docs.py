"""What is generated from the code is up to date in the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("script", ["render_docs", "render_configs"])
def test_what_is_generated_is_up_to_date(script: str) -> None:
    file = f"scripts/{script}.py"
    done = subprocess.run([sys.executable, str(ROOT / file), "--check"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"run `python {file}`; stale: {done.stdout}{done.stderr}"
