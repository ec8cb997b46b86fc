"""`rlguide inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import EngineOption, JsonOption, WorkspaceOption, open_workspace


def command(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of a registered dataset, see `rlguide list`.",
            metavar="NAME",
            autocompletion=_complete.of(_complete.datasets),
        ),
    ],
    pairs: Annotated[int, typer.Option(min=0, help="How many rows to show, drawn at random.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the rows that are drawn.")] = 42,
    model: Annotated[
        str | None,
        typer.Option(
            help="Count tokens with this model: an SFT checkpoint, `latest`, a base model's folder or hub id.",
            autocompletion=_complete.of(_complete.latest, _complete.checkpoints),
        ),
    ] = None,
    template: Annotated[str | None, typer.Option(help="Chat template. [default: the model's]")] = None,
    cutoff_len: Annotated[
        int | None, typer.Option(min=1, help="Tokens that the engine keeps of a row. [default: the recipe's]")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Write a page: data/NAME.inspect.html.")] = False,
    html_file: Annotated[Path | None, typer.Option(help="Write the page to this file.", metavar="FILE")] = None,
    plots: Annotated[Path | None, typer.Option(help="Write the plots into this folder.", metavar="FOLDER")] = None,
    ifeval: Annotated[
        Path | None,
        typer.Option(
            help="Prompts of google/IFEval: a file, or hub to fetch them once. [default: the hub's cache]",
            metavar="FILE|hub",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Compute the slow figures on all rows, not on a random 250,000.")
    ] = False,
    engine: EngineOption = None,
    workspace: WorkspaceOption = Path(),
    json: JsonOption = False,
) -> None:
    """Show what is in a dataset, what is wrong with it, and a few rows of it.

    \b
    rlguide inspect ultrafeedback
    rlguide inspect my_pairs --pairs 10 --seed 7
    rlguide inspect my_pairs --html
    rlguide inspect my_pairs --model saves/sft --cutoff-len 1024
    rlguide inspect my_pairs --json
    """
    from rlguide import console
    from rlguide.data.inspect import inspection, screen
    from rlguide.data.inspect.collect import THOROUGH
    from rlguide.errors import UsageError

    ws = open_workspace(workspace)
    page = html_file or (inspection.default_page(ws, name) if html else None)
    tokenizer = None
    if model is not None:
        from rlguide.recipes.tokenizer import default_cutoff_len, tokenizer_of

        tokenizer = tokenizer_of(ws, model, template, engine)
        cutoff_len = cutoff_len or default_cutoff_len()
    elif cutoff_len is not None or template is not None:
        raise UsageError(
            "--cutoff-len and --template are about tokens, which are counted with a model's tokenizer",
            "add --model, the SFT checkpoint or base model to be trained",
        )
    thorough = None if every else THOROUGH
    options = inspection.InspectOptions(pairs, seed, cutoff_len or 0, tokenizer, page, plots, ifeval, thorough)
    inspected = inspection.inspect_dataset(ws, name, options)
    if json:
        console.show_json(inspection.as_json(inspected))
        return
    screen.show(inspected)
    for path in inspected.written:
        console.say(f"wrote {ws.relative(path)}")
