"""`rlguide checkpoints`: list what training left under saves/."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlguide.cli._options import JsonOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from rlguide.policy.checkpoint import Checkpoint


# Of a checkpoint, those that `--json` has under their own names.
FIELDS = (
    *("kind", "stage", "step", "base", "rank", "target_modules", "date", "last_loss", "template", "problem", "fix"),
)
COLUMNS = ("", "checkpoint", "kind", "stage", "step", "base model", "rank", "date", "last loss")
LESSER = ("rank", "last loss", "kind", "base model", "date")  # on a narrow terminal the first goes first


def command(workspace: WorkspaceOption = Path(), as_json: JsonOption = False) -> None:
    """List the checkpoints under saves/, newest first; * marks the one that `--sft-ckpt latest` chooses.

    \b
    rlguide checkpoints
    rlguide checkpoints --workspace ~/project --json
    """
    from rlguide.console import say, show_json, show_table
    from rlguide.policy.checkpoint import TRAIN_SFT, find_checkpoints, latest_sft

    ws = open_workspace(workspace)
    found = find_checkpoints(ws)
    newest = latest_sft(found)
    if as_json:
        show_json([_record(item, item is newest) for item in found])
        return
    if not found:
        say(f"no checkpoint under {ws.saves}; {TRAIN_SFT}")
        return
    show_table(COLUMNS, [_row(item, item is newest) for item in found], lesser=LESSER)
    for item in found:
        if item.problem:
            say(f"! {item.problem}\n  fix: {item.fix}")
    if newest is None:
        say(f"none of them is a complete SFT checkpoint; {TRAIN_SFT}")


def _row(item: Checkpoint, is_newest: bool) -> list[str]:
    mark = "!" if item.problem else "*" if is_newest else ""
    date = item.date.astimezone().strftime("%Y-%m-%d %H:%M")
    loss = "-" if item.last_loss is None else f"{item.last_loss:.4f}"
    values = [item.step, item.base, item.rank]
    step, base, rank = ["-" if value is None else str(value) for value in values]
    return [mark, item.name, item.kind, item.stage, step, base, rank, date, loss]


def _record(item: Checkpoint, is_newest: bool) -> dict[str, Any]:
    values = {name: getattr(item, name) for name in FIELDS}
    return {"path": item.name, "newest_sft": is_newest, **values, "date": item.date.isoformat()}
