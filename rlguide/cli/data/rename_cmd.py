"""`rlguide rename`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import WorkspaceOption, open_workspace


def command(
    old: Annotated[
        str,
        typer.Argument(help="A registered dataset.", metavar="OLD", autocompletion=_complete.of(_complete.datasets)),
    ],
    new: Annotated[str, typer.Argument(help="What it is to be called.", metavar="NEW")],
    workspace: WorkspaceOption = Path(),
) -> None:
    """Give a dataset another name, together with its held-out split, report and views.

    \b
    rlguide rename train_v2_final my_pairs

    A file that rlguide did not write keeps its name. Configs and runs are not rewritten; those that name the dataset
    are listed.
    """
    from rlguide.console import say
    from rlguide.data.store.belongings import belongings
    from rlguide.data.store.rename import rename
    from rlguide.runs.dataset_users import check_not_training

    ws = open_workspace(workspace)
    users = check_not_training(ws, belongings(ws, old).entries)
    for before, after in rename(ws, old, new).items():
        say(f"{before} is now {after}")
    if users.named:
        say(f"not rewritten, and still naming {old}: {', '.join(users.named)}")
