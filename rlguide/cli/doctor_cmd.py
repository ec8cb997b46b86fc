"""`rlguide doctor`: what is on this host, what works, what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli._options import EngineOption, JsonOption, WorkspaceOption, open_workspace

STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def command(
    deep: Annotated[
        bool, typer.Option("--deep", help="Also import torch and LLaMA-Factory in the engine (about 10 s).")
    ] = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check this host: engine and versions, GPUs, disk, hub, workspace; each line says how to fix it.

    The exit code is 1 if anything is a problem, 0 if there are warnings at most.

    \b
    rlguide doctor
    rlguide doctor --deep --engine ~/envs/llamafactory
    """
    from dataclasses import asdict

    from rlguide.console import console, show_json
    from rlguide.doctor.examine import examine

    findings = []
    for item in examine(open_workspace(workspace), engine, deep):
        findings.append(item)
        if as_json:
            continue
        out = console()
        out.print(f"{item.status:<8}", style=STYLES[item.status], end="")
        out.print(f"{item.name:<12} {item.what}", markup=False)
        if item.fix:
            out.print(f"{'':<8}{'':<12} fix: {item.fix}", markup=False)
    if as_json:
        show_json([asdict(item) for item in findings])
    if any(item.status == "problem" for item in findings):
        raise typer.Exit(1)
