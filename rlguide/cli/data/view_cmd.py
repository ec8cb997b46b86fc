"""`rlguide view`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import WorkspaceOption, open_workspace


def command(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Registered datasets of pairs.", metavar="NAME...", autocompletion=_complete.of(_complete.datasets)
        ),
    ],
    use: Annotated[str, typer.Option(help="Its use: sft, kto or ppo; dpo and rm read pairs as they are.")],
    workspace: WorkspaceOption = Path(),
) -> None:
    """Register a dataset of pairs for another of LLaMA-Factory's stages as well, and print the name to use there.

    \b
    rlguide view ultrafeedback --use sft
    rlguide view ultrafeedback orca_dpo --use ppo

    For sft (the prompts with their chosen responses) and ppo (the prompts) this is an entry in dataset_info.json that
    shows the same file; for kto a file with a row for every response is made. `rlguide train --method sft`, `kto`
    and `ppo` do this by themselves; the names are for your own LLaMA-Factory configs, such as
    `dataset: ultrafeedback_sft` with `stage: sft`.
    """
    from rlguide.console import show
    from rlguide.data.ingest.views import views_for

    show(",".join(views_for(open_workspace(workspace), names, use)))
