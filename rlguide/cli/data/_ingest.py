"""The options of `rlguide register` and `download`: what the command line says of each field of `IngestOptions`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from typer.models import OptionInfo

from rlguide.data.ingest.options import option_name

REGISTER = {
    "name": "Name of the dataset. [default: from the file's name]",
    "columns": "What columns hold, as prompt=query,chosen=good_one; ignored=NAME leaves one out.",
    "form": "Shape of the rows, if it is not to be detected (see `rlguide register -h`).",
    "encoding": "Encoding of the text, if it is not to be found out (gb18030, big5, cp1252, ...).",
    "header": "Names of the columns of a CSV, TSV or Excel file that has no header line: prompt,chosen,rejected.",
    "test_size": "Share of the rows to hold out. [default: 0.05, at most 2000 rows]",
    "split": "Split to train on, where there are several.",
    "heldout_split": "Split to hold out; none: hold out a share of --split instead. [default: its counterpart]",
    "subset": "Subset (configuration) to train on, where there are several.",
    "files": "Train on the files that this pattern names; may be given more than once.",
    "dedupe": "Drop duplicates of an earlier row, exact or near.",
    "pairing": "Pairs from a list of scored responses: best-worst, or all whose scores differ by --min-margin.",
    "good_from": "Rating from which on a single response is desirable, for KTO.",
    "min_margin": "Drop pairs whose chosen score is not at least this much above the rejected one.",
    "max_length": "Drop rows longer than this many characters: the whole conversation with its longer response.",
    "lang": "Keep the rows in this language (or these: en,zh).",
    "balance_length": "Drop pairs at random until the chosen response is the longer one in half of them.",
    "max_samples": "Keep this many rows, drawn at random.",
    "seed": "Seed of everything that is drawn at random.",
    "keep_good": "Drop invalid rows even if they are more than 1 %, or most of a file.",
    "force": "Replace a dataset of the same name.",
    "dry_run": "Say how the rows would be read, show three of them, and write nothing.",
}
DOWNLOAD = REGISTER | {
    "hub": "Hub to ask: hf or modelscope.",
    "name": "Name in the workspace. [default: the last part of the id]",
    "lang": "Keep one language (or en,zh); of dpo_en_zh, fetch that half.",
    "max_samples": (
        "Keep this many rows, drawn at random from the first files that have as many; others are not fetched."
    ),
    "test_size": "Share to hold out if the dataset has no split of its own. [default: 0.05, at most 2000]",
    "revision": "Branch, tag or commit on the hub. [default: main; master on ModelScope]",
    "force": "Fetch and write again, whatever is there.",
}
DOWNLOAD_ORDER = (
    *("hub", "split", "heldout_split", "subset", "files", "name", "lang", "max_samples", "test_size", "dedupe"),
    *("columns", "pairing", "good_from", "min_margin", "max_length", "balance_length", "form", "encoding", "header"),
    *("keep_good", "seed", "revision", "force", "dry_run"),
)
TYPES: dict[str, Any] = {"files": list[str] | None}
_ALSO = {"subset": ["--config"]}
_ENVIRONMENT = {"hub": "RLGUIDE_HUB"}


def ingest_options(texts: dict[str, str], order: Sequence[str] = ()) -> dict[str, OptionInfo]:
    """The Typer option of each field that has a text, in the order of the texts if no other is given."""
    return {
        name: typer.Option(option_name(name), *_ALSO.get(name, ()), help=texts[name], envvar=_ENVIRONMENT.get(name))
        for name in order or texts
    }
