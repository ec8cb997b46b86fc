"""Write the ready recipes into configs/, as `rlguide recipes show` prints them, and the guide's example.

python scripts/render_configs.py            write; a file that belongs to no recipe is removed
python scripts/render_configs.py --check    write nothing; exit code 1 and the stale files if anything is stale
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from rlguide.catalog.recipes import ready_recipes
from rlguide.recipes.ready import filled, guide_filling
from rlguide.recipes.render import fill, load_recipe, render

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = "qwen3-4b-base-dpo-2x48gb"  # the recipe of the README's six steps
SFT = "saves/qwen3-4b-base/lora/sft/checkpoint-2000"  # and their checkpoint


def configs() -> dict[str, str]:
    """The text of each file below configs/, by its path from the repository."""
    files = {f"configs/{name}.yaml": filled(recipe) for name, recipe in ready_recipes().items()}
    return {**{name: rendered.text_in(name) for name, rendered in files.items()}, **example()}


def example() -> dict[str, str]:
    """The training of the README's six steps, and the evaluation that `rlguide eval` makes of it."""
    recipe = ready_recipes()[EXAMPLE]
    guide = guide_filling(recipe)
    keys = {**guide.keys, "adapter_name_or_path": SFT}
    training = filled(recipe, replace(guide, keys=keys, before=[step for step in guide.before if "sft" not in step]))
    name, template = "configs/qwen3-4b-base/dpo_config.yaml", load_recipe("eval")
    run = str(training.config["output_dir"])
    shared = ("model_name_or_path", "dataset_dir", "template", "bf16", "eval_dataset")
    values = {
        **{key: training.config[key] for key in shared},
        "adapter_name_or_path": f"{SFT},{run}",
        "ref_model": training.config["model_name_or_path"],
        "ref_model_adapters": SFT,
        "output_dir": f"{run}/eval",
    }
    introduction = [f"{template.title}, for the run of dpo_config.yaml beside it."]
    evaluation = render(template, fill(template, values), introduction)
    return {name: training.text_in(name), "configs/qwen3-4b-base/eval_config.yaml": evaluation}


def main() -> int:
    """Write or check; 1 if something is stale."""
    wanted = configs()
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*") if path.is_file()}
    stale = [name for name, text in wanted.items() if name not in there or (ROOT / name).read_text("utf-8") != text]
    stale += sorted(there - wanted.keys())
    for name in stale:
        print(name)
        if "--check" not in sys.argv:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            if name in wanted:
                (ROOT / name).write_text(wanted[name], encoding="utf-8")
            else:
                (ROOT / name).unlink()
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
