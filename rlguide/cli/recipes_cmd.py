"""`rlguide recipes`: ready configs for known models and GPUs; show one, or copy it into a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlguide.cli import _complete
from rlguide.cli._options import JsonOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from rlguide.catalog.recipes import ReadyRecipe
    from rlguide.workspace import Workspace

NameArgument = Annotated[
    str,
    typer.Argument(
        help="A recipe that `rlguide recipes` lists.", metavar="NAME", autocompletion=_complete.of(_complete.recipes)
    ),
]
COLUMNS = ("NAME", "MODEL", "METHOD", "GPUS", "MEMORY", "TIME")
LESSER = ("GPUS", "METHOD", "MODEL")  # a name says them, too

command = typer.Typer(
    help="""List ready recipes: methods for known models on one or two GPUs, with planned memory and time.

    \b
    rlguide recipes
    rlguide recipes show qwen3-4b-base-dpo-1x24gb
    rlguide recipes copy qwen3-4b-base-dpo-1x24gb --dataset my_pairs
    """,
    invoke_without_command=True,
    rich_markup_mode=None,
)


@command.callback()
def list_recipes(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the recipes. MEMORY is the planned peak of a GPU; TIME that of an epoch of 10,000 pairs."""
    import shlex

    from rlguide.catalog.recipes import TIME_OF, cells, ready_recipes
    from rlguide.console import say, show_json, show_table

    if context.invoked_subcommand is not None:
        return
    recipes = ready_recipes().values()
    if as_json:
        show_json([_record(recipe) for recipe in recipes])
        return
    show_table(COLUMNS, [cells(recipe) for recipe in recipes], lesser=LESSER)
    say(f"MEMORY: planned peak of a GPU. TIME: planned, an epoch of {TIME_OF}. -: not planned yet")
    say(f"next: rlguide recipes copy {shlex.quote(next(iter(ready_recipes())))}")


@command.command("show", short_help="Print a recipe as a commented config.")
def show_recipe(name: NameArgument, as_json: JsonOption = False) -> None:
    """Print a recipe as a commented config, with the guide's own data and paths.

    \b
    rlguide recipes show qwen3-4b-base-dpo-1x24gb
    """
    from rlguide.catalog.recipes import find_ready_recipe
    from rlguide.console import show, show_json
    from rlguide.recipes.ready import filled

    recipe = find_ready_recipe(name)
    rendered = filled(recipe)
    if as_json:
        show_json({**_record(recipe), "config": rendered.config})
        return
    show(rendered.text_in(f"configs/{recipe.name}.yaml").rstrip("\\n"))


@command.command("copy", short_help="Copy a recipe into the workspace, to own and edit.")
def copy(
    name: NameArgument,
    path: Annotated[
        Path | None, typer.Argument(help="File or folder to copy to; configs/NAME.yaml by default.", metavar="PATH")
    ] = None,
    sft_ckpt: Annotated[
        str | None,
        typer.Option(
            "--sft-ckpt",
            help="SFT checkpoint to start from: its folder, or latest.",
            autocompletion=_complete.of(_complete.latest, _complete.checkpoints),
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            help="Registered datasets, separated by commas; ultrafeedback by default.",
            autocompletion=_complete.of(_complete.datasets, several=True),
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Overwrite the file (an edited one is kept as .bak).")
    ] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Copy a recipe as a commented config that is yours, filled with your checkpoint and data.

    \b
    rlguide recipes copy qwen3-4b-base-dpo-2x48gb
    rlguide recipes copy qwen3-4b-base-dpo-2x48gb --sft-ckpt latest --dataset my_pairs
    rlguide recipes copy llama-3.1-8b-instruct-dpo-qlora-1x24gb configs/mine.yaml
    """
    import shlex

    from rlguide.catalog.recipes import find_ready_recipe
    from rlguide.console import say, show, warn
    from rlguide.engine.config_file import split_names
    from rlguide.recipes.copying import copy_recipe, shown_path

    ws = open_workspace(workspace)
    copied = copy_recipe(ws, find_ready_recipe(name), path, sft_ckpt, tuple(split_names(dataset)), force)
    for note in copied.notes:
        warn(note)
    if copied.backup:
        say(f"your edited config is kept as {shown_path(copied.backup)}")
    shown, place = shown_path(copied.path), _place(ws)
    show(shown)
    config = shlex.quote(shown)
    steps = [f"{step}{place}" for step in (*copied.rendered.before, f"rlguide train --config {config}")]
    say(f"next: {steps[0]}")
    for step in steps[1:]:
        say(f"then: {step}")


def _place(ws: Workspace) -> str:
    """The option that names the workspace, where the next command would not find it by itself."""
    import os
    import shlex

    here = Path(os.environ.get("RLGUIDE_WORKSPACE") or ".")
    return "" if here.resolve() == ws.root else f" --workspace {shlex.quote(str(ws.root))}"


def _record(recipe: ReadyRecipe) -> dict[str, Any]:
    from dataclasses import asdict

    from rlguide.catalog.recipes import planned_figures

    planned = planned_figures(recipe)
    return {
        "name": recipe.name,
        "model": recipe.model.hub_id,
        "method": recipe.method,
        "quantization": recipe.quantization,
        "gpus": recipe.gpus,
        "gib": recipe.gib,
        "why": recipe.why,
        "planned": asdict(planned) if planned else None,
    }
