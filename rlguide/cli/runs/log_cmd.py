"""`rlguide runs log`: what the engine printed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import JsonOption, WorkspaceOption, open_workspace


def command(
    run: Annotated[
        str | None, typer.Argument(help="The run; the newest by default.", autocompletion=_complete.of(_complete.runs))
    ] = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="How many lines of its end.")] = 40,
    whole: Annotated[bool, typer.Option("--all", help="The whole log.")] = False,
    following: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines as they come, until the training ends.")
    ] = False,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Print the end of what the engine printed, without progress bars; of a run that failed, why, too.

    \b
    rlguide runs log
    rlguide runs log saves/qwen3-4b-base/lora/dpo --lines 200
    rlguide runs log --follow
    """
    from rlguide.console import say, show_json, show_line
    from rlguide.errors import UsageError
    from rlguide.policy.run_record import read_record
    from rlguide.runs.manage.log import all_lines, follow, last_lines, log_of

    if following and (whole or as_json):
        raise UsageError("--follow prints lines as they come", "leave --all and --json out")
    log = log_of(open_workspace(workspace), run)
    record = read_record(log.parent)
    failure = (record.failure or {}).get("what") if record is not None else None
    found = follow(log, lines) if following else all_lines(log) if whole else last_lines(log, lines)
    if as_json:
        show_json({"log": str(log), "lines": list(found), "failure": failure})
        return
    for line in found:
        show_line(line)
    if failure and not following:
        say(f"it failed: {failure}")
