"""`rlguide show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import JsonOption, WorkspaceOption, open_workspace


def command(
    name: Annotated[
        str,
        typer.Argument(
            help="Any registered dataset in a local file.",
            metavar="NAME",
            autocompletion=_complete.of(_complete.datasets),
        ),
    ],
    row: Annotated[int, typer.Option("--row", help="Which row, as it is stored: from 1, or -1 for the last.")] = 1,
    heldout: Annotated[bool, typer.Option("--heldout", help="A row of what is held out.")] = False,
    short: Annotated[bool, typer.Option("--short", help="Cut long texts.")] = False,
    workspace: WorkspaceOption = Path(),
    json: JsonOption = False,
) -> None:
    """Show a stored row as a conversation: system prompt, turns, and the responses with their scores or label.

    \b
    rlguide show ultrafeedback
    rlguide show my_pairs --row 17
    rlguide show my_pairs --heldout --row -1 --short
    """
    from rlguide.data.inspect.conversation import as_json, show_row
    from rlguide.data.store.one_row import read_row

    ws = open_workspace(workspace)
    found = read_row(ws, name, row, heldout)
    if json:
        from rlguide.console import show_json

        show_json(as_json(ws, found))
        return
    show_row(found, short)
