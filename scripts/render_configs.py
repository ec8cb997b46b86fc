"""Write the ready recipes into configs/, as `rlguide recipes show` prints them, and the guide's example.

python scripts/render_configs.py            write; a file that belongs to no recipe is removed
python scripts/render_configs.py --check    write nothing; exit code 1 and the stale files if anything is stale
python scripts/render_configs.py --plan     ask the planner for memory and time of each recipe, too (minutes)
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from rlguide.catalog.gpus import parse_gpus
from rlguide.catalog.methods import find_method
from rlguide.catalog.recipes import PAIR, PAIRS, PLANNED, TIME_OF, Figures, ReadyRecipe, ready_recipes, time_on
from rlguide.engine.find import find_engine
from rlguide.planner.lengths import Lengths, at_most
from rlguide.planner.plan import plan_all
from rlguide.planner.time import published_efficiency
from rlguide.planner.training import Training
from rlguide.recipes.ready import filled, guide_filling
from rlguide.recipes.render import fill, load_recipe, render
from rlguide.recipes.schedule import schedule
from rlguide.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = "qwen3-4b-base-dpo-2x48gb"  # the recipe of the README's six steps
SFT = "saves/qwen3-4b-base/lora/sft/checkpoint-2000"  # and their checkpoint
PLANNED_HEAD = (
    "# What the planner says of each recipe (docs/planner.md). Written by scripts/render_configs.py --plan.",
    "#",
    "# gib    peak memory of a GPU by `rlguide train`, with pairs that fill cutoff_len, CUDA and its allocator counted",
    f"# hours  the least and the most that an epoch of {TIME_OF} takes on such GPUs",
    "",
)


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


def training(recipe: ReadyRecipe) -> Training:
    """An epoch of 10,000 pairs, without evaluation: the longest fills cutoff_len, all others are a `PAIR`."""
    method = find_method(recipe.method)
    responses = 2 if method.data == "pairs" else 1  # of an example
    config = {**filled(recipe).config, "num_train_epochs": 1.0, "eval_strategy": "no"}
    rows = PAIRS * (2 if method.data == "labels" else 1)
    longest = at_most(int(config["cutoff_len"]), responses).longest
    lengths = Lengths((PAIR[: 1 + responses],), longest, PLANNED.name)
    return Training(method, config, recipe.model.shapes, schedule(config, [rows], [0], recipe.gpus), lengths)


def figures_of(recipe: ReadyRecipe) -> Figures:
    """What the planner says of a recipe, by published speeds. Raises SystemExit if that is nothing, or too large."""
    gpus = parse_gpus(f"{recipe.gpus}x{time_on(recipe)}")
    [plan] = plan_all(Workspace(ROOT), find_engine(), [training(recipe)], gpus)
    if isinstance(plan, str):
        raise SystemExit(f"{recipe.name}: {plan}")
    time = plan.time(published_efficiency(gpus.model, bool(recipe.quantization)))
    gib = plan.memory.peak / 2**30
    if time is None or not plan.fits:
        raise SystemExit(f"{recipe.name}: {gib:.1f} GiB do not fit, or there is no time on {gpus}")
    return Figures(gib, (time.low / 3600, time.high / 3600), time_on(recipe))


def planned() -> str:
    """The text of recipes_planned.yaml. Raises SystemExit as `figures_of`."""
    lines = []
    for recipe in ready_recipes().values():
        found = figures_of(recipe)
        low, high = found.hours
        lines.append(f"{recipe.name}: {{gib: {found.gib:.1f}, hours: [{low:.2g}, {high:.2g}], gpu: {found.gpu}}}")
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join([*PLANNED_HEAD, *lines]) + "\n"


def main() -> int:
    """Write or check; 1 if something is stale."""
    if "--plan" in sys.argv:
        PLANNED.write_text(planned(), encoding="utf-8")
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
