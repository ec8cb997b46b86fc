"""Which files of a repository a download takes: those the catalog names, or those of the split that is wanted."""

from __future__ import annotations

from dataclasses import dataclass

from rlguide import console
from rlguide.catalog.datasets import CatalogDataset, Part
from rlguide.errors import DataError, HubError
from rlguide.preferences import hub
from rlguide.preferences.filters import languages
from rlguide.preferences.splits import Wanted, select_files


@dataclass(frozen=True)
class Plan:
    """One portion of a download: which files become training rows and which are the held-out split."""

    train: list[hub.HubFile]
    heldout: list[hub.HubFile]


def find_plans(snapshot: hub.Snapshot, dataset: CatalogDataset, lang: str, wanted: Wanted) -> list[Plan]:
    """The portions to fetch, with sizes and checksums as far as the hub tells them.

    Raises:
        HubError: a file of the catalog is not there, or the hub fails. UsageError, DataError: as `select_files`.
    """
    if dataset.parts:
        return [
            _part(snapshot, part)
            for part in dataset.parts
            if lang == "both" or part.language in (None, *languages(lang))
        ]
    try:
        found = select_files(snapshot.hub_id, snapshot.paths, hub.read_card(snapshot), wanted)
    except DataError as error:
        if not hub.is_offline():
            raise
        raise HubError(
            f"the cache holds no data file of {snapshot.hub_id}, and HF_HUB_OFFLINE forbids fetching one",
            "unset HF_HUB_OFFLINE and run the same command once with a network",
        ) from error
    console.say(f"  {found.reason}")
    hub.check_shards(snapshot, [*found.train, *found.heldout])
    return [_details(snapshot, list(found.train), list(found.heldout))]


def _part(snapshot: hub.Snapshot, part: Part) -> Plan:
    train = hub.match_files(snapshot, part.train)
    return _details(snapshot, train, hub.match_files(snapshot, part.heldout) if part.heldout else [])


def _details(snapshot: hub.Snapshot, train: list[str], heldout: list[str]) -> Plan:
    details = {file.path: file for file in hub.file_details(snapshot, train + heldout)}
    return Plan([details[path] for path in train], [details[path] for path in heldout])
