"""`rlguide runs`: the runs of a workspace; a file for each subcommand, added at the end."""

from __future__ import annotations

from pathlib import Path

import typer

from rlguide.cli._options import JsonOption, WorkspaceOption

command = typer.Typer(
    help="""List the runs of a workspace; compare or remove them.

    \b
    rlguide runs
    rlguide runs --json
    """,
    invoke_without_command=True,
    rich_markup_mode=None,
)


@command.callback()
def list_runs(context: typer.Context, workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """List the runs under saves/, newest first."""
    if context.invoked_subcommand is not None:
        return


# Subcommands: `command.command("NAME", short_help=...)(NAME_cmd.command)`.
