"""`rlguide download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli._options import (
    BalanceLengthOption,
    DedupeOption,
    MaxLengthOption,
    MinMarginOption,
    WorkspaceOption,
    open_workspace,
)


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("download")(download)


def download(
    names: Annotated[list[str], typer.Argument(help="Datasets of the catalog (`rlguide list`).", metavar="NAME...")],
    lang: Annotated[str, typer.Option(help="Part of a bilingual dataset: en, zh or both.")] = "both",
    max_samples: Annotated[
        int | None,
        typer.Option(help="Keep this many pairs, drawn at random; only as many files as needed are fetched."),
    ] = None,
    test_size: Annotated[
        float | None,
        typer.Option(help="Share to hold out if the dataset has no split of its own. [default: 0.05, at most 2000]"),
    ] = None,
    dedupe: DedupeOption = False,
    min_margin: MinMarginOption = None,
    max_length: MaxLengthOption = None,
    balance_length: BalanceLengthOption = False,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn at random.")] = 42,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit on the hub.")] = "main",
    force: Annotated[bool, typer.Option("--force", help="Fetch and write again, whatever is there.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Fetch preference datasets from the hub, check every pair, and register them for training.

    \b
    rlguide download ultrafeedback
    rlguide download orca_dpo dpo_en_zh
    rlguide download dpo_en_zh --lang zh
    rlguide download coig_p --max-samples 20000
    HF_ENDPOINT=https://hf-mirror.com rlguide download ultrafeedback

    The held-out pairs become a dataset of their own, NAME_test. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are
    honoured; a download that was cut off resumes.
    """
    from rlguide.preferences.download import DownloadOptions, download_all
    from rlguide.preferences.filters import Filters

    filters = Filters(dedupe, min_margin, max_length, None, balance_length, max_samples, seed)
    options = DownloadOptions(lang, test_size, revision, force, filters)
    failures = download_all(open_workspace(workspace), names, options)
    if failures:
        from rlguide.errors import RlguideError

        raise RlguideError(
            f"{len(failures)} of {len(dict.fromkeys(names))} failed: {', '.join(name for name, _ in failures)}",
            "see the lines above; run the command again, and what is already there is not fetched again",
        )
    from rlguide.console import say

    say(f"next: rlguide configure --dataset {names[0]} --sft-ckpt latest")
