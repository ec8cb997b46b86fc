"""`rlguide remove`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from rlguide.data.store.remove import Removal


def command(
    name: Annotated[
        str,
        typer.Argument(
            help="A registered dataset, or a view of one.",
            metavar="NAME",
            autocompletion=_complete.of(_complete.datasets),
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Remove a dataset from the workspace, together with its held-out split, report and views.

    \b
    rlguide remove my_pairs
    rlguide remove my_pairs --yes

    Only files that rlguide wrote are deleted; of a dataset that was registered otherwise, only its entry in
    dataset_info.json goes. The file that was imported stays in any case. What a run is training on, or needs to be
    resumed, is not removed.
    """
    import shlex

    from rlguide.cli._options import agree
    from rlguide.console import say
    from rlguide.data.store.remove import plan_removal, remove
    from rlguide.runs.dataset_users import check_not_needed

    ws = open_workspace(workspace)
    plan = plan_removal(ws, name)
    users = check_not_needed(ws, plan.entries)
    _describe(plan)
    if users.named:
        say(f"named by: {', '.join(users.named)}")
    where = [] if ws.root == Path.cwd().resolve() else ["-w", str(workspace)]
    agree(f"remove {name}?", yes, shlex.join(["rlguide", "remove", name, "--yes", *where]), default=False)
    done = remove(ws, name)
    say(f"removed {', '.join(done.entries)}")


def _describe(plan: Removal) -> None:
    from rlguide.console import say
    from rlguide.progress import format_bytes

    say(f"removes from data/dataset_info.json: {', '.join(plan.entries)}")
    for file, size in plan.files.items():
        say(f"deletes data/{file} ({format_bytes(size)})")
    if len(plan.files) > 1:
        say(f"{len(plan.files)} files, {format_bytes(sum(plan.files.values()))}")
    for line in plan.kept:
        say(f"keeps {line}")
