"""`rlguide register`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Context
from typer.core import TyperCommand

from rlguide.cli._options import (
    BalanceLengthOption,
    DedupeOption,
    FileOption,
    FormatOption,
    HeldoutSplitOption,
    KeepGoodOption,
    MaxLengthOption,
    MaxSamplesOption,
    MinMarginOption,
    PairingOption,
    SeedOption,
    SplitOption,
    SubsetOption,
    WorkspaceOption,
    open_workspace,
)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("register", cls=_WithFormats)(register_files)


class _WithFormats(TyperCommand):
    """Its help has the table of formats, which is made only when the help is shown."""

    def get_help(self, ctx: Context) -> str:  # type: ignore[override]
        """The help text."""
        from rlguide.data.ingest.format_help import format_help

        self.help = (self.help or "").format(pairs=format_help("pairs"), labels=format_help("labels"))
        return super().get_help(ctx)


def register_files(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="JSON, JSON lines, CSV (also .gz, .zst) or Parquet files, or folders of them.", metavar="FILE..."
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the dataset. [default: from the file's name]")] = None,
    form: FormatOption = "auto",
    test_size: Annotated[
        float | None, typer.Option(help="Share of the rows to hold out. [default: 0.05, at most 2000 rows]")
    ] = None,
    split: SplitOption = None,
    heldout_split: HeldoutSplitOption = None,
    subset: SubsetOption = None,
    file: FileOption = None,
    dedupe: DedupeOption = False,
    pairing: PairingOption = "best-worst",
    min_margin: MinMarginOption = None,
    max_length: MaxLengthOption = None,
    lang: Annotated[str | None, typer.Option(help="Keep the rows in this language (or these: en,zh).")] = None,
    balance_length: BalanceLengthOption = False,
    max_samples: MaxSamplesOption = None,
    seed: SeedOption = 42,
    keep_good: KeepGoodOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a dataset of the same name.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Check your own preference pairs or labelled responses, row by row, and register them for training.

    \b
    rlguide register my_pairs.json
    rlguide register pairs.csv --name support --test-size 0.1
    rlguide register a.jsonl b.parquet --keep-good
    rlguide register thumbs_up_and_down.jsonl
    rlguide register my_folder --split train_prefs --heldout-split test_prefs
    rlguide register big.parquet --dedupe --lang zh --max-length 8000
    rlguide register scored.jsonl.gz --pairing all --min-margin 1 --balance-length

    Every refused row is named, with its line and the reason, in data/NAME.report.json. The format is detected. Pairs,
    for every method:

    \b
    {pairs}

    Labelled single responses, for KTO; label (or kto_tag) is true/false or 1/0:

    \b
    {labels}

    system may also be called system_prompt or system_message, and input is added below the prompt. A column that
    looks like a piece of the prompt and is not read stops the command; --format leaves it out.
    """
    from rlguide.data.curate.filters import Filters
    from rlguide.data.ingest.pipeline import IngestOptions
    from rlguide.data.ingest.register import RegisterOptions, register_all
    from rlguide.data.sources.splits import FileSelection

    filters = Filters(dedupe, min_margin, max_length, lang, balance_length, max_samples, seed)
    how = IngestOptions(form, pairing, filters, test_size, keep_good)
    options = RegisterOptions(name, how, force, FileSelection(split, heldout_split, subset, tuple(file or ())))
    register_all(open_workspace(workspace), files, options)
