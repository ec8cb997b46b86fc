"""`rlguide stop`: end a training from any terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import JsonOption, WorkspaceOption, open_workspace


def command(
    run: Annotated[
        str | None,
        typer.Argument(
            help="The run; the one that is training by default.", autocompletion=_complete.of(_complete.runs)
        ),
    ] = None,
    workspace: WorkspaceOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """End a training as Ctrl-C in its own terminal would, and say how it is resumed.

    \b
    rlguide stop
    rlguide stop saves/qwen3-4b-base/lora/dpo
    """
    from rlguide.console import show_json
    from rlguide.policy.run_state import can_be_resumed, resume_command
    from rlguide.runs.checkpoints import last_checkpoint, step_of
    from rlguide.runs.manage.stop import running_run, stop

    ws = open_workspace(workspace)
    stopped = stop(ws, running_run(ws, run))
    if as_json:
        checkpoint = last_checkpoint(stopped.path)
        step = step_of(checkpoint) if checkpoint else None
        resume = resume_command(stopped.name) if can_be_resumed(stopped.status) else None
        show_json({"run": stopped.name, "status": stopped.status, "checkpoint": step, "resume": resume})
