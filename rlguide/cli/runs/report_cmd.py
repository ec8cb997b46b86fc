"""`rlguide report`: a run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import JsonOption, Language, WorkspaceOption, open_workspace


def command(
    run: Annotated[
        str | None,
        typer.Argument(help="Folder of the run; the newest by default.", autocompletion=_complete.of(_complete.runs)),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the page to this file.", show_default="RUN/report.html"
        ),
    ] = None,
    language: Annotated[Language, typer.Option("--lang", help="Language of the page.")] = Language.en,
    opens: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write a run as one HTML page: verdict, diagnosis, curves, evaluation, responses, settings, data, manifest.

    The page is a single file that loads nothing from anywhere: it can be mailed, archived and printed.

    \b
    rlguide report
    rlguide report saves/qwen3-4b-base/lora/dpo --open
    rlguide report --lang zh --output report_zh.html
    """
    from rlguide.console import say, show, show_json
    from rlguide.reports.page import write_report
    from rlguide.runs.record import open_run

    ws = open_workspace(workspace)
    chosen = open_run(ws, run)
    path = write_report(ws, chosen, output, language.value)
    if as_json:
        show_json({"run": chosen.name, "status": chosen.status, "report": str(path)})
    else:
        show(str(path))
    if opens:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            say(f"no browser here; open {path} on another machine")
