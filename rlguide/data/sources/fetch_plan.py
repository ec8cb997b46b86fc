"""Which files of a repository a download takes: those the catalog names, or those of the split that is wanted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from rlguide import console
from rlguide.catalog.datasets import CatalogDataset
from rlguide.data.hubs import client as hub
from rlguide.data.hubs.base import HubFile, Snapshot
from rlguide.data.sources.selection import FileSelection
from rlguide.data.sources.splits import select_files
from rlguide.errors import DataError, HubError
from rlguide.hub_settings import is_offline


@dataclass(frozen=True)
class FetchPlan:
    """One portion of a download: which files become training rows and which are the held-out split."""

    train: list[HubFile]
    heldout: list[HubFile]


def find_fetch_plans(
    snapshot: Snapshot, dataset: CatalogDataset, languages: Collection[str], wanted: FileSelection
) -> list[FetchPlan]:
    """The portions to fetch, with sizes and checksums as far as the hub tells them.

    Of a dataset whose parts are languages, only those of `languages`; all of them if it is empty. Raises HubError if a
    file of the catalog is not there, or the hub fails; else as `select_files`.
    """
    if dataset.parts:
        parts = [part for part in dataset.parts if not languages or part.language in (None, *languages)]
        match = partial(hub.match_files, snapshot)
        return [_plan(snapshot, match(part.train), match(part.heldout)) for part in parts]
    try:
        found = select_files(snapshot.hub_id, snapshot.paths, hub.read_card(snapshot), wanted)
    except DataError as error:
        if not is_offline():
            raise
        raise HubError(
            f"the cache holds no data file of {snapshot.hub_id}, and HF_HUB_OFFLINE forbids fetching one",
            "unset HF_HUB_OFFLINE and run the same command once with a network",
        ) from error
    console.say(f"  {found.reason}")
    if found.not_taken:
        console.say(f"  {found.not_taken}")
    hub.check_shards(snapshot, [*found.train, *found.heldout])
    return [_plan(snapshot, list(found.train), list(found.heldout))]


def _plan(snapshot: Snapshot, train: list[str], heldout: list[str]) -> FetchPlan:
    details = {file.path: file for file in hub.file_details(snapshot, train + heldout)}
    return FetchPlan([details[path] for path in train], [details[path] for path in heldout])
