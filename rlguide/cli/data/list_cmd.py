"""`rlguide list`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rlguide.cli._options import JsonOption, WorkspaceOption, open_workspace

if TYPE_CHECKING:
    from rlguide.data.inspect.listing import Listed


COLUMNS = ("NAME", "HUB ID", "LANGUAGE", "ROWS", "LICENCE", "FOR", "DOWNLOADED")
LESSER = ("LICENCE", "LANGUAGE", "HUB ID", "FOR")  # on a narrow terminal the first goes first


def command(workspace: WorkspaceOption = Path(), json: JsonOption = False) -> None:
    """Show the preference datasets: those of the catalog, and your own in this workspace.

    \b
    rlguide list
    rlguide list --json
    """
    from rlguide import console
    from rlguide.data.inspect import listing

    listed = listing.list_datasets(open_workspace(workspace))
    if json:
        from dataclasses import asdict

        console.show_json([asdict(line) for line in listed])
        return
    console.show_table(COLUMNS, [_cells(line) for line in listed], lesser=LESSER)


def _cells(line: Listed) -> tuple[str, ...]:
    rows = "?" if line.rows is None else f"{line.rows:,}"
    return (
        line.name,
        line.hub_id or "-",
        ", ".join(line.languages) or "-",
        rows,
        line.licence or "-",
        line.purpose,
        _downloaded(line),
    )


def _downloaded(line: Listed) -> str:
    if not line.downloaded:
        return "no"
    if line.local_rows is None:
        return "yes"
    return f"{line.local_rows:,}" + (f" + {line.heldout_rows:,} held out" if line.heldout_rows else "")
