"""`rlguide runs remove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import WorkspaceOption, open_workspace


def command(
    run: Annotated[str, typer.Argument(help="The run.", metavar="RUN", autocompletion=_complete.of(_complete.runs))],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Remove a run with its checkpoints, figures and evaluations. One that another run stands on stays.

    \b
    rlguide runs remove saves/qwen3-4b-base/lora/dpo
    rlguide runs remove saves/qwen3-4b-base/lora/dpo --yes
    """
    import shlex

    from rlguide.cli._options import agree
    from rlguide.console import say
    from rlguide.progress import format_bytes
    from rlguide.runs.manage.remove import plan_run_removal, remove_run

    ws = open_workspace(workspace)
    plan = plan_run_removal(ws, run)
    steps = f", checkpoints of steps {', '.join(map(str, plan.steps))}" if plan.steps else ""
    say(f"deletes {plan.name}: {plan.files} files, {format_bytes(plan.size)}{steps}")
    if plan.host:
        say(f"! it is recorded as running on {plan.host}: whether it does is not known here")
    for line in plan.kept:
        say(f"keeps {line}")
    where = [] if ws.root == Path.cwd().resolve() else ["-w", str(workspace)]
    agree(f"remove {plan.name}?", yes, shlex.join(["rlguide", "runs", "remove", run, "--yes", *where]), default=False)
    remove_run(ws, run)
    say(f"removed {plan.name}")
