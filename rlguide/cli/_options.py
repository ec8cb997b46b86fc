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
    int | None,
    typer.Option(
        help="Leave out rows longer than this many characters: the whole conversation with its longer answer."
    ),
]

BalanceLengthOption = Annotated[
    bool,
    typer.Option(
        "--balance-length", help="Leave out pairs at random until the chosen answer is the longer one in half of them."
    ),
]

FormatOption = Annotated[
    str, typer.Option("--format", help="Format of the rows, if it is not to be detected (see `rlguide register -h`).")
]

KeepGoodOption = Annotated[
    bool, typer.Option("--keep-good", help="Drop bad rows even if they are more than 1 %, or most of a file.")
]

MaxSamplesOption = Annotated[int | None, typer.Option(help="Keep this many rows, drawn at random.")]
SeedOption = Annotated[int, typer.Option(help="Seed of everything that is drawn at random.")]
SplitOption = Annotated[str | None, typer.Option(help="Split to train on, where there are several.")]

HeldoutSplitOption = Annotated[
    str | None,
    typer.Option(help="Split to hold out; none: hold out a share of --split instead. [default: its counterpart]"),
]

SubsetOption = Annotated[str | None, typer.Option("--subset", "--config", help="Subset (configuration), likewise.")]

FileOption = Annotated[
    list[str] | None, typer.Option(help="Train on the files that this pattern names; may be given more than once.")
]

PairingOption = Annotated[
    str,
    typer.Option(help="Pairs from a list of scored answers: best-worst, or all whose scores differ by --min-margin."),
]


def open_workspace(path: Path) -> Workspace:
    """The workspace at `path`, with what a killed run left in it settled. Raises UsageError if it is not a folder."""
    from rlguide.data.store.journal import settle
    from rlguide.errors import UsageError

    if not path.is_dir():
        raise UsageError(f"the workspace {path} is not a folder", "create it, or name another with --workspace")
    workspace = Workspace(path.resolve())
    settle(workspace)
    return workspace
