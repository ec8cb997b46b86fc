"""What a name on the command line of `rlguide download` means: a dataset of the catalog, or any id of a hub."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

from rlguide.catalog.datasets import CatalogDataset, find_dataset
from rlguide.data.names import safe_name
from rlguide.data.sources.selection import ANYTHING, FileSelection
from rlguide.errors import UsageError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def find_requested(given: list[str], hub: str, wanted: FileSelection, name: str | None) -> list[CatalogDataset]:
    """The datasets meant by names of the catalog, or ids (org/name), each once; `name` is what a single one is called
    in the workspace. Parts are empty where the files have to be found by `splits`.

    Raises UsageError: no such dataset, or options that cannot be meant together.
    """
    if name is not None and len(given) > 1:
        raise UsageError(f"--name {name} cannot be the name of {len(given)} datasets", "download them one by one")
    found = [_requested(one, hub, wanted) for one in dict.fromkeys(given)]
    names = [dataset.name for dataset in found]
    for twice in names:
        if names.count(twice) > 1:
            raise UsageError(f"two of these datasets would be called {twice} here", "download one of them with --name")
    return [replace(found[0], name=name)] if name is not None else found


def _requested(given: str, hub: str, wanted: FileSelection) -> CatalogDataset:
    if "/" in given or "\\" in given:
        return _any_dataset(given)
    dataset = find_dataset(given)
    if hub == "modelscope":
        if dataset.modelscope_id is None:
            raise UsageError(
                f"the id of {dataset.name} on ModelScope is not known to the catalog",
                f"look it up there and give it: rlguide download ORG/NAME --hub modelscope --name {dataset.name}",
            )
        return replace(dataset, hub_id=dataset.modelscope_id, parts=())
    return replace(dataset, parts=()) if wanted != ANYTHING else dataset


def _any_dataset(given: str) -> CatalogDataset:
    if HUB_ID.fullmatch(given) is None or given.startswith("datasets/"):
        if Path(given).exists():
            raise UsageError(f"{given} is here on this machine", f"use it with: rlguide register {shlex.quote(given)}")
        address = re.search(r"/datasets/([^/?#]+/[^/?#]+)", f"/{given}")
        raise UsageError(
            "a dataset of a hub is named by its id, ORG/NAME, not by an address or a path",
            f"give {address[1]}" if address else "give for example HuggingFaceH4/ultrafeedback_binarized",
        )
    return CatalogDataset(safe_name(given.split("/")[1]), given)
