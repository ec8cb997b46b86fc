"""`rlguide runs`: the runs of a workspace; a file for each subcommand, added at the end."""

from __future__ import annotations

from pathlib import Path

import typer

from rlguide.cli._options import JsonOption, WorkspaceOption, open_workspace
from rlguide.cli.runs import compare_cmd, log_cmd, remove_cmd

command = typer.Typer(
    help="""List the runs of a workspace, newest first; compare them, read a log, or remove one.

    \b
    rlguide runs
    rlguide runs --json
    """,
    invoke_without_command=True,
    rich_markup_mode=None,
)


@command.callback()
def list_them(context: typer.Context, workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """List the runs: state, best step on held-out data, and how often the chosen response was preferred there."""
    from rlguide.console import say, show_json, show_table
    from rlguide.runs.manage.listed import COLUMNS, LESSER, cells, list_runs, remarks

    if context.invoked_subcommand is not None:
        _check_place(context)
        return
    ws = open_workspace(workspace)
    rows = list_runs(ws)
    if as_json:
        show_json([row.as_dict() for row in rows])
        return
    if not rows:
        say(f"there is no run under {ws.saves}: train one with `rlguide train --sft-ckpt latest`")
        return
    show_table(COLUMNS, [cells(row) for row in rows], lesser=LESSER)
    for line in remarks(rows):
        say(line)


def _check_place(context: typer.Context) -> None:
    """Refuse options of the list before a subcommand, which would not see them. Raises UsageError."""
    from rlguide.errors import UsageError

    given = [name for name in ("workspace", "as_json") if "COMMANDLINE" in str(context.get_parameter_source(name))]
    if given:
        option = {"workspace": "--workspace", "as_json": "--json"}[given[0]]
        raise UsageError(
            f"{option} stands before {context.invoked_subcommand}, which does not see it",
            f"put {option} behind {context.invoked_subcommand}",
        )


command.command("compare", short_help="Runs side by side: settings, figures, curves.")(compare_cmd.command)
command.command("log", short_help="The end of what the engine printed.")(log_cmd.command)
command.command("remove", short_help="Remove a run that no other stands on.")(remove_cmd.command)
