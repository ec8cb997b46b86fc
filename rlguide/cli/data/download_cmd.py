"""`rlguide download`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rlguide.cli import _complete
from rlguide.cli._options import WorkspaceOption, open_workspace
from rlguide.cli._spread import spread
from rlguide.cli.data._ingest import DOWNLOAD, DOWNLOAD_ORDER, TYPES, ingest_options
from rlguide.data.ingest.options import DownloadOptions


@spread(DownloadOptions, ingest_options(DOWNLOAD, DOWNLOAD_ORDER), TYPES)
def command(
    names: Annotated[
        list[str],
        typer.Argument(
            help="Datasets of the catalog (`rlguide list`), or ids: org/name.",
            metavar="NAME...",
            autocompletion=_complete.of(_complete.catalog),
        ),
    ],
    options: DownloadOptions,
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
    honoured, and for ModelScope MODELSCOPE_ENDPOINT and MODELSCOPE_API_TOKEN. Retries with exponential backoff, from
    RLGUIDE_RETRY_SECONDS (1) on; a download that was cut off resumes.
    """
    from rlguide.data.ingest.download import download_all

    download_all(open_workspace(workspace), names, options)
