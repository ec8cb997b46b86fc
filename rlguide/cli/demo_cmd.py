"""`rlguide demo`: the whole journey on bundled data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli._options import EngineOption, JsonOption


def command(
    folder: Annotated[
        Path | None,
        typer.Option("--dir", help="New folder for all it makes; ./rlguide-demo (or -2, -3, ...) by default."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the model and of the training.")] = 0,
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """See the whole journey in a few minutes: a small model made here, SFT, DPO, evaluation, responses.

    \b
    rlguide demo
    rlguide demo --dir /tmp/demo --seed 1
    rlguide demo --json

    No network and no GPU are needed. The folder stays, and is a workspace for every other command.
    """
    from rlguide.console import show_json
    from rlguide.demo.journey import choose_folder, run_demo, show_result

    result = run_demo(choose_folder(folder), engine, seed)
    if as_json:
        show_json(result.as_dict())
    else:
        show_result(result)
