"""`rlguide register`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli._options import (
    BalanceLengthOption,
    DedupeOption,
    MaxLengthOption,
    MinMarginOption,
    PairingOption,
    WorkspaceOption,
    open_workspace,
)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("register")(register_files)


def register_files(
    files: Annotated[
        list[Path], typer.Argument(help="JSON, JSON lines, CSV (also .gz, .zst) or Parquet files.", metavar="FILE...")
    ],
    name: Annotated[str | None, typer.Option(help="Name of the dataset. [default: from the file's name]")] = None,
    form: Annotated[str, typer.Option("--format", help="Format of the rows, if it is not to be detected.")] = "auto",
    test_size: Annotated[
        float | None, typer.Option(help="Share of the rows to hold out. [default: 0.05, at most 2000 rows]")
    ] = None,
    dedupe: DedupeOption = False,
    pairing: PairingOption = "best-worst",
    min_margin: MinMarginOption = None,
    max_length: MaxLengthOption = None,
    lang: Annotated[str | None, typer.Option(help="Keep the rows in this language: en, zh, de, ...")] = None,
    balance_length: BalanceLengthOption = False,
    max_samples: Annotated[int | None, typer.Option(help="Keep this many rows, drawn at random.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn at random.")] = 42,
    keep_good: Annotated[
        bool, typer.Option("--keep-good", help="Drop bad rows even if they are more than 1 %.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a dataset of the same name.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Check your own preference pairs or labelled answers, row by row, and register them for training.

    \b
    rlguide register my_pairs.json
    rlguide register pairs.csv --name support --test-size 0.1
    rlguide register a.jsonl b.parquet --keep-good
    rlguide register thumbs_up_and_down.jsonl
    rlguide register big.parquet --dedupe --lang zh --max-length 8000
    rlguide register scored.jsonl.gz --pairing all --min-margin 1 --balance-length

    The format is detected. Pairs, for every method:

    \b
    sharegpt           conversations, chosen, rejected, system
    ultrafeedback      prompt; chosen and rejected as whole conversations
    hh                 chosen and rejected as text: Human: ... Assistant: ...
    trl                prompt, chosen, rejected; each as text or as messages
    openai             messages up to the question; chosen, rejected
    openai-preference  input, preferred_output, non_preferred_output
    trl-implicit       chosen and rejected as whole conversations
    trl-implicit-text  chosen and rejected as text with a common beginning
    alpaca             instruction, input, history, chosen, rejected, system
    orca               system, question, chosen, rejected
    scored-list        a prompt, and a list of answers with scores or ranks

    Labelled single answers, for KTO; label (or kto_tag) is true/false or 1/0:

    \b
    kto-messages   messages that end with the answer; label, system
    kto-trl        prompt, completion; each as text or as messages; label
    kto-alpaca     instruction, input, history, output, system; label
    """
    from rlguide.preferences.filters import Filters
    from rlguide.preferences.register import RegisterOptions, register_all
    from rlguide.preferences.scored_lists import Pairing

    filters = Filters(dedupe, min_margin, max_length, lang, balance_length, max_samples, seed)
    options = RegisterOptions(
        name, form, test_size, keep_good, force, filters, Pairing(pairing, max(0.0, min_margin or 0.0))
    )
    register_all(open_workspace(workspace), files, options)
