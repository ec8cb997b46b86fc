"""`rlguide download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli._options import WorkspaceOption, open_workspace


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("download")(download)


def download(
    names: Annotated[
        list[str], typer.Argument(help="Datasets of the catalog (`rlguide list`), or ids: org/name.", metavar="NAME...")
    ],
    hub: Annotated[str, typer.Option(help="Hub to ask: hf or modelscope.", envvar="RLGUIDE_HUB")] = "hf",
    split: Annotated[str | None, typer.Option(help="Split to train on.")] = None,
    heldout_split: Annotated[
        str | None,
        typer.Option(help="Split to hold out; none: hold out a share of --split instead. [default: its counterpart]"),
    ] = None,
    subset: Annotated[str | None, typer.Option("--subset", "--config", help="Subset (configuration) of it.")] = None,
    file: Annotated[
        list[str] | None, typer.Option(help="Train on the files that this pattern names; may be given more than once.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name in the workspace. [default: the last part of the id]")] = None,
    lang: Annotated[str, typer.Option(help="Part of a bilingual dataset: en, zh or both.")] = "both",
    max_samples: Annotated[
        int | None,
        typer.Option(help="Keep this many pairs, drawn at random; only as many files as needed are fetched."),
    ] = None,
    test_size: Annotated[
        float | None,
        typer.Option(help="Share to hold out if the dataset has no split of its own. [default: 0.05, at most 2000]"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the held-out choice and of --max-samples.")] = 42,
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
    rlguide download org/name --split train_prefs --heldout-split test_prefs
    rlguide download org/name --subset zh --name my_pairs
    rlguide download org/name --file "chat/*.jsonl"
    rlguide download org/name --hub modelscope
    HF_ENDPOINT=https://hf-mirror.com rlguide download ultrafeedback

    The held-out pairs become a dataset of their own, NAME_test. HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are
    honoured, and for ModelScope MODELSCOPE_ENDPOINT and MODELSCOPE_API_TOKEN. A hub that is busy is waited for, from
    RLGUIDE_RETRY_SECONDS (1) on and longer each time; a download that was cut off resumes.
    """
    from rlguide.preferences.download import DownloadOptions, download_all
    from rlguide.preferences.splits import Wanted

    wanted = Wanted(split, heldout_split, subset, tuple(file or ()))
    options = DownloadOptions(lang, max_samples, test_size, seed, revision, force, hub, name, wanted)
    downloaded, failures = download_all(open_workspace(workspace), names, options)
    if failures:
        from rlguide.errors import RlguideError

        raise RlguideError(
            f"{len(failures)} of {len(dict.fromkeys(names))} failed: {', '.join(name for name, _ in failures)}",
            "see the lines above; run the command again, and what is already there is not fetched again",
        )
    from rlguide.console import say

    say(f"next: rlguide configure --dataset {downloaded[0]} --sft-ckpt latest")
