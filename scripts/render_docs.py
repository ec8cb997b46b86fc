"""Write what is generated from the code: the command reference of both READMEs and the recipes in configs/.

python scripts/render_docs.py            write
python scripts/render_docs.py --check    write nothing; exit code 1 and the stale files if anything is stale
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from rlguide.cli import COMMANDS
from rlguide.recipes.render import fill, load_recipe, render
from rlguide.recipes.schedule import intervals, schedule

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- reference: written by scripts/render_docs.py -->", "<!-- end of reference -->"
SFT = "saves/qwen3-4b-base/lora/sft/checkpoint-2000"
DPO = "saves/qwen3-4b-base/lora/dpo"
COMMON = {"model_name_or_path": "Qwen/Qwen3-4B-Base", "dataset_dir": "data", "template": "qwen3_nothink", "bf16": True}


def reference() -> str:
    """The help of every command, 88 columns wide."""
    environment = {**os.environ, "COLUMNS": "88", "TERMINAL_WIDTH": "88"}
    for name in ("RLGUIDE_WORKSPACE", "RLGUIDE_ENGINE"):
        environment.pop(name, None)
    parts = []
    for words in ([], *[[name] for name in COMMANDS]):
        code = "import sys; from rlguide.cli import main; sys.exit(main())"
        done = subprocess.run(
            [sys.executable, "-c", code, *words, "--help"], env=environment, capture_output=True, text=True, check=True
        )
        text = done.stdout.replace("Usage: -c ", "Usage: rlguide ").rstrip()
        parts.append(f"### {' '.join(['rlguide', *words])}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def with_reference(readme: str, text: str) -> str:
    """The README with the reference between its markers. Raises ValueError without the markers."""
    head, rest = readme.split(BEGIN, 1)
    _, tail = rest.split(END, 1)
    return f"{head}{BEGIN}\n\n{text}\n{END}{tail}"


def recipes() -> dict[str, str]:
    """The guide's example: Qwen3-4B-Base, LoRA SFT, UltraFeedback, two A6000."""
    values = {
        **COMMON,
        "adapter_name_or_path": SFT,
        "create_new_adapter": True,
        "dataset": "ultrafeedback",
        "eval_dataset": "ultrafeedback_test",
        "preprocessing_num_workers": 8,
        "output_dir": DPO,
        "eval_strategy": "steps",
    }
    recipe = load_recipe("dpo")
    plan = schedule(fill(recipe, values), [61135], [2000], processes=2)
    dpo = fill(recipe, {**values, **intervals(plan.total_steps)})
    introduction = [
        f"{recipe.title} for Qwen3-4B-Base on two A6000 48 GB: {plan.describe()}.",
        "Copy it into configs/ of your workspace and make it yours. The step counts are those of the whole",
        "dataset; `rlguide configure` writes the same file for your checkpoint, your data and your GPUs.",
    ]
    evaluation = fill(
        load_recipe("eval"),
        {
            **COMMON,
            "adapter_name_or_path": f"{SFT},{DPO}",
            "ref_model": COMMON["model_name_or_path"],
            "ref_model_adapters": SFT,
            "eval_dataset": "ultrafeedback_test",
            "output_dir": f"{DPO}/eval",
        },
    )
    return {
        "configs/qwen3-4b-base/dpo_config.yaml": render(recipe, dpo, introduction),
        "configs/qwen3-4b-base/eval_config.yaml": render(
            load_recipe("eval"), evaluation, [f"{load_recipe('eval').title}, for the run of dpo_config.yaml beside it."]
        ),
    }


def main() -> int:
    """Write or check; 1 if something is stale."""
    text = reference()
    wanted = {name: with_reference((ROOT / name).read_text("utf-8"), text) for name in ("README.md", "README_zh.md")}
    wanted.update(recipes())
    stale = [n for n, t in wanted.items() if not (ROOT / n).exists() or (ROOT / n).read_text("utf-8") != t]
    for name in stale:
        print(name)
        if "--check" not in sys.argv:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(wanted[name], encoding="utf-8")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
