"""`rlguide runs compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import JsonOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from rlguide.runs.manage.compare import Comparison


def command(
    runs: Annotated[
        list[str],
        typer.Argument(help="Two runs or more.", metavar="RUN RUN ...", autocompletion=_complete.of(_complete.runs)),
    ],
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="PNG to draw; saves/compare-<runs>.png by default."),
    ] = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Compare runs: the settings that differ, the figures with 95 % intervals, the curves as PNG and in the terminal.

    What their models respond is compared by `rlguide compare`.

    \b
    rlguide runs compare saves/qwen3-4b-base/lora/dpo saves/qwen3-4b-base/lora/simpo
    """
    from rlguide.console import say, show, show_json, show_table
    from rlguide.runs.manage.compare import compare, curve_names
    from rlguide.runs.manage.listed import row_of
    from rlguide.runs.manage.overlay import plot_overlay
    from rlguide.runs.record import open_run
    from rlguide.workspace import check_replaceable

    ws = open_workspace(workspace)
    opened = [open_run(ws, name) for name in runs]
    found = compare(opened)
    path = plot or ws.saves / f"compare-{'-'.join(label.replace('/', '_') for label in found.labels)}.png"
    check_replaceable(path)
    drawn = plot_overlay(found.panels, curve_names(found.labels), path)
    shown = None if drawn is None else ws.relative(drawn.absolute())
    if as_json:
        numbers = {run.name: row_of(run).as_dict() for run in opened}
        show_json({**found.as_dict(), "numbers": numbers, "plot": shown})
        return
    if found.settings:
        show_table(("setting", *found.labels), [(key, *cells) for key, cells in found.settings.items()])
    else:
        say("their settings are the same")
    show_table(("figure", *found.labels), [(key, *cells) for key, cells in found.figures.items()])
    for note in found.notes:
        say(f"note: {note}")
    _draw(found)
    if shown:
        show(shown)


def _draw(found: Comparison) -> None:
    """The curves, on a terminal."""
    import sys

    from rlguide.console import console, show
    from rlguide.runs.view.terminal import paint

    if sys.stdout.isatty():
        show(paint(found.panels, console().width, max(12, 2 * console().height // 3)))
