"""`rlguide register`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Context
from typer.core import TyperCommand

from rlguide.cli._options import WorkspaceOption, open_workspace
from rlguide.cli._spread import spread
from rlguide.cli.data._ingest import REGISTER, TYPES, ingest_options
from rlguide.data.ingest.options import IngestOptions


class Command(TyperCommand):
    """Its help has the table of formats, which is made only when the help is shown."""

    def get_help(self, ctx: Context) -> str:  # type: ignore[override]
        """The help text."""
        from rlguide.data.example import KIND_NAMES
        from rlguide.data.ingest.format_help import format_help

        self.help = (self.help or "").format(**{kind: format_help(kind) for kind in KIND_NAMES})
        return super().get_help(ctx)


@spread(IngestOptions, ingest_options(REGISTER), TYPES)
def command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            help="JSON, JSON lines, CSV (also compressed), Parquet, Arrow or Excel files, or folders of them.",
            metavar="FILE...",
        ),
    ],
    options: IngestOptions,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Check your own pairs, labelled responses or responses, row by row, and register them for training.

    \b
    rlguide register my_pairs.json
    rlguide register pairs.csv --name support --test-size 0.1
    rlguide register a.jsonl b.parquet --keep-good
    rlguide register thumbs_up_and_down.jsonl
    rlguide register my_folder --split train_prefs --heldout-split test_prefs
    rlguide register big.parquet --dedupe --lang zh --max-length 8000
    rlguide register scored.jsonl.gz --pairing all --min-margin 1 --balance-length

    \b
    rlguide register odd.csv --columns prompt=query,chosen=good_one,rejected=bad_one
    rlguide register odd.csv --dry-run

    Every invalid row is named, with its line and the reason, in data/NAME.report.json. How the rows are read is found
    out from the names and the cells of their columns, in English and Chinese; responses may be texts, messages,
    dialogues with markers, JSON in a text, or rendered with a chat template. Pairs, for every method:

    \b
    {pairs}

    Labelled single responses, for KTO; the label is true/false, 1/0, up/down, good/bad and the like:

    \b
    {labels}

    Single responses that nothing says to be good or bad, for SFT:

    \b
    {responses}

    A system prompt, history (earlier turns), input (added below the prompt) and scores are read, too. A column that
    looks like a piece of the prompt and is not read stops the command; --columns says what to do with it.
    """
    from rlguide.data.ingest.register import register_all

    register_all(open_workspace(workspace), paths, options)
