"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.workspace import Workspace

WorkspaceOption = Annotated[
    Path,
    typer.Option("--workspace", "-w", envvar="RLGUIDE_WORKSPACE", help="Folder that holds data/, configs/ and saves/."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout instead of a table.")]
EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine",
        envvar="RLGUIDE_ENGINE",
        help="Environment with LLaMA-Factory in it: its folder, its python, or its llamafactory-cli.",
    ),
]
DedupeOption = Annotated[
    bool, typer.Option("--dedupe", help="Leave out repeats of an earlier row, exact or nearly so.")
]
MinMarginOption = Annotated[
    float | None,
    typer.Option(help="Leave out pairs whose chosen score is not at least this much above the rejected one."),
]
MaxLengthOption = Annotated[
    int | None, typer.Option(help="Leave out rows longer than this: characters of the prompt with its longer answer.")
]
BalanceLengthOption = Annotated[
    bool,
    typer.Option(
        "--balance-length", help="Leave out pairs at random until the chosen answer is the longer one in half of them."
    ),
]
PairingOption = Annotated[
    str,
    typer.Option(help="Pairs from a list of scored answers: best-worst, or all whose scores differ by --min-margin."),
]


def open_workspace(path: Path) -> Workspace:
    """The workspace at `path`, with what a killed run left in it settled. Raises UsageError if it is not a folder."""
    from rlguide.errors import UsageError
    from rlguide.preferences.journal import settle

    if not path.is_dir():
        raise UsageError(f"the workspace {path} is not a folder", "create it, or name another with --workspace")
    workspace = Workspace(path.resolve())
    settle(workspace)
    return workspace
