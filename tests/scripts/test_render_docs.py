"""What is generated from the code is up to date in the repository."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from rlguide.catalog.recipes import find_ready_recipe, planned_figures

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("script", ["render_docs", "render_configs"])
def test_what_is_generated_is_up_to_date(script: str) -> None:
    file = f"scripts/{script}.py"
    done = subprocess.run([sys.executable, str(ROOT / file), "--check"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, f"run `python {file}`; stale: {done.stdout}{done.stderr}"


@pytest.mark.engine
@pytest.mark.parametrize("name", ["qwen3-4b-base-dpo-1x24gb", "llama-3.1-8b-instruct-dpo-qlora-1x24gb"])
def test_the_planned_figures_are_the_planners(name: str) -> None:
    """Where they are not, the planner was changed: `python scripts/render_configs.py --plan`."""
    recipe = find_ready_recipe(name)
    written, now = (
        planned_figures(recipe),
        runpy.run_path(str(ROOT / "scripts/render_configs.py"))["figures_of"](recipe),
    )
    assert written is not None
    assert written.gib == pytest.approx(now.gib, rel=0.02)
    assert written.hours == pytest.approx(now.hours, rel=0.1)


@pytest.mark.engine
def test_the_tables_of_cost_are_the_planners() -> None:
    """Where they are not, the planner was changed: `python scripts/render_scale.py`."""
    script = runpy.run_path(str(ROOT / "scripts/render_scale.py"))
    found, page = script["tables"](), (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    for name in ("lora", "full"):
        assert f"<!-- {name} -->\n{found[name]}<!-- end -->" in page
