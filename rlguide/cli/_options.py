"""Options that several commands share, declared once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli import _complete
from rlguide.workspace import Workspace


class Language(StrEnum):
    """Of a page, or of prompts."""

    en = "en"
    zh = "zh"


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

RunArgument = Annotated[
    str | None,
    typer.Argument(
        help="A run or a checkpoint under saves/; the newest usable run by default.",
        autocompletion=_complete.of(_complete.runs, _complete.checkpoints),
    ),
]
StepOption = Annotated[
    int | None,
    typer.Option("--step", min=1, metavar="N", help="Take the run at this step; its best step by default."),
]
LastOption = Annotated[bool, typer.Option("--last", help="Take the end of the run, although another step is better.")]
BaseOption = Annotated[str | None, typer.Option("--base", help="Base model of a checkpoint; alone: this model itself.")]
TrustBaseOption = Annotated[
    bool, typer.Option("--trust-base", help="Accept a base of another name (the same model, renamed).")
]
TemplateOption = Annotated[str | None, typer.Option("--template", help="Chat template; a run knows its own.")]


TrustCodeOption = Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the base model.")]


def agree(question: str, yes: bool, command: str, default: bool = True) -> None:
    """Ask, unless --yes was given; ends the command with exit code 1 at a no.

    Raises UsageError without a terminal: `command` is what to type there.
    """
    import sys

    from rlguide.errors import UsageError

    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):  # the question and the answer are both a person's
        raise UsageError("confirmation needed, and this is not a terminal", command)
    if not typer.confirm(question, default=default, err=True):
        raise typer.Exit(1)


def typed_again(*more: str) -> str:
    """The command that was typed, whole, with further options: what a `fix:` line names must do the same work."""
    import shlex
    import sys

    return shlex.join(["rlguide", *sys.argv[1:], *more])


def open_workspace(path: Path) -> Workspace:
    """The workspace at `path`, with what a killed run left in it settled. Raises UsageError if it is not a folder."""
    from rlguide.data.store.journal import settle
    from rlguide.errors import UsageError

    if not path.is_dir():
        raise UsageError(f"the workspace {path} is not a folder", "create it, or name another with --workspace")
    workspace = Workspace(path.resolve())
    settle(workspace)
    return workspace
