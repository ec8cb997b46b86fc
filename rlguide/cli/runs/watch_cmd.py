"""`rlguide watch`: see how a run goes, from any terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import JsonOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from rlguide.runs.view.attach import Attached

_ERROR_LINES = 5  # of an error on a narrow terminal
_LOWEST = 16  # rows of curves below a report
_GPU_SECONDS = 5.0  # that --once waits for the driver


def command(
    run: Annotated[
        str | None,
        typer.Argument(
            help="The run; by default the newest that trains, else the newest.",
            autocompletion=_complete.of(_complete.runs),
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Show how it stands now, and end.")] = False,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Watch a run from any terminal: curves, time left, GPUs, and what is wrong with it. Ctrl-C leaves it alone.

    In a pipe it prints a line for each log, and with --json one document of how the run stands.

    \b
    rlguide watch
    rlguide watch saves/qwen3-4b-base/lora/dpo
    rlguide watch --once
    rlguide watch --json
    """
    import shlex

    from rlguide.console import say, show_json
    from rlguide.runs.view.attach import Attached, attached_document, follow, how_it_ended, run_to_watch

    ws = open_workspace(workspace)
    attached = Attached(ws, run_to_watch(ws, run))
    if once or as_json:
        attached.wait_for_gpus(_GPU_SECONDS)
    if as_json:
        show_json(attached_document(attached))
        return
    if not once and not attached.state.is_over:
        try:
            follow(attached)
        except KeyboardInterrupt:
            name = shlex.quote(attached.run.name)
            say(f"detached; {attached.run.name} is still training")
            say(f"watch it again: rlguide watch {name}    stop it: rlguide stop {name}")
            return
    error = how_it_ended(attached)
    _show_once(attached, _ERROR_LINES if error else 0)
    if error:
        raise error


def _show_once(attached: Attached, rest: int) -> None:
    """How a run stands or how it ended (stdout): on a terminal with its curves; `rest`: lines to come after it."""
    from rich.cells import cell_len

    from rlguide.console import console, show
    from rlguide.runs.report import report, report_lines
    from rlguide.runs.view.screen import Curves, lines_of, screen

    lines = report_lines(report(attached.run)) if attached.run.status == "finished" else []
    for line in lines:
        show(line)
    out = console()
    if out.is_terminal:
        width, height = out.size
        room = height - 2 - rest - sum(cell_len(line) // width + 1 for line in lines)  # the verdict stays in sight
        curves = None if out.options.ascii_only else Curves()
        show(screen(attached.state, width, max(room, _LOWEST), curves=curves))
    elif not lines:
        for line in lines_of(attached.state):
            show(line)
