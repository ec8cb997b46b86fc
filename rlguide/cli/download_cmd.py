"""`rlguide download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli._options import (
    BalanceLengthOption,
    DedupeOption,
    FileOption,
    FormatOption,
    HeldoutSplitOption,
    KeepGoodOption,
    MaxLengthOption,
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
    app.command("download")(download)


def download(
    names: Annotated[
        list[str], typer.Argument(help="Datasets of the catalog (`rlguide list`), or ids: org/name.", metavar="NAME...")
    ],
    hub: Annotated[str, typer.Option(help="Hub to ask: hf or modelscope.", envvar="RLGUIDE_HUB")] = "hf",
    split: SplitOption = None,
    heldout_split: HeldoutSplitOption = None,
    subset: SubsetOption = None,
    file: FileOption = None,
    name: Annotated[str | None, typer.Option(help="Name in the workspace. [default: the last part of the id]")] = None,
    lang: Annotated[str, typer.Option(help="Keep one language (or en,zh); of dpo_en_zh, fetch that half.")] = "both",
    max_samples: Annotated[
        int | None,
        typer.Option(
            help="Keep this many rows, drawn at random from the first files that have as many; others are not fetched."
        ),
    ] = None,
    test_size: Annotated[
        float | None,
        typer.Option(help="Share to hold out if the dataset has no split of its own. [default: 0.05, at most 2000]"),
    ] = None,
    dedupe: DedupeOption = False,
    pairing: PairingOption = "best-worst",
    min_margin: MinMarginOption = None,
    max_length: MaxLengthOption = None,
    balance_length: BalanceLengthOption = False,
    form: FormatOption = "auto",
    keep_good: KeepGoodOption = False,
    seed: SeedOption = 42,
    revision: Annotated[
        str | None, typer.Option(help="Branch, tag or commit on the hub. [default: main; master on ModelScope]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Fetch and write again, whatever is there.")] = False,
    workspace: WorkspaceOption = Path(),
) -> None:
    """Fetch preference datasets from the hub, check every pair, and register them for training.

    \b
    rlguide download ultrafeedback
    rlguide download orca_dpo dpo_en_zh
    rlguide download dpo_en_zh --lang zh
    rlguide download coig_p --max-samples 20000
    rlguide download ultrafeedback --dedupe --min-margin 1 --balance-length
    rlguide download org/name --split train_prefs --heldout-split test_prefs
    rlguide download org/name --subset zh --name my_pairs
    rlguide download org/name --file "chat/*.jsonl"
    rlguide download org/name --hub modelscope
    HF_ENDPOINT=https://hf-mirror.com rlguide download ultrafeedback

    The held-out pairs become a dataset of their own, NAME_test. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are
    honoured, and for ModelScope MODELSCOPE_ENDPOINT and MODELSCOPE_API_TOKEN. A hub that is busy is waited for, from
    RLGUIDE_RETRY_SECONDS (1) on and longer each time; a download that was cut off resumes.
    """
    from rlguide.data.curate.filters import Filters
    from rlguide.data.ingest.download import DownloadOptions, download_all
    from rlguide.data.ingest.pipeline import IngestOptions
    from rlguide.data.sources.splits import FileSelection

    filters = Filters(dedupe, min_margin, max_length, None, balance_length, max_samples, seed)
    how = IngestOptions(form, pairing, filters, test_size, keep_good)
    wanted = FileSelection(split, heldout_split, subset, tuple(file or ()))
    options = DownloadOptions(lang, how, revision, force, hub, name, wanted)
    failures = download_all(open_workspace(workspace), names, options)
    if failures:
        from rlguide.errors import RlguideError

        raise RlguideError(
            f"{len(failures)} of {len(dict.fromkeys(names))} failed: {', '.join(name for name, _ in failures)}",
            "see the lines above; run the command again, and what is already there is not fetched again",
        )
