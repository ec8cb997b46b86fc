"""What of a model's making is on record, and how it is written into a card."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rlguide.catalog.datasets import CatalogDataset, load_datasets
from rlguide.console import printable
from rlguide.data.store.manifest import read_manifest
from rlguide.errors import DataError
from rlguide.policy.base import cached_file, find_base
from rlguide.policy.run_record import RunRecord
from rlguide.workspace import Workspace, read_text

CARD = "README.md"
LONGEST = 300  # characters of a value
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+!|~&$])")
# A path, at the beginning of a word or behind what quotes, lists or assigns it: no hub id, no address, no "and/or".
_PATH = re.compile(
    r"""(?<![^\s"'`(\[{<=,;|])(?:file:|[A-Za-z]:|~[\w.-]*|\.{1,2})?(?:[\\/]+[^\\/\s"'`)\]}>,;|]+)+[\\/]*"""
)
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Dataset:
    """A dataset of a training. `rows` are those that were registered; `known`: what the catalog says of it.

    hub: "hf" or "modelscope"; what has the same id on the other hub may be something else.
    """

    name: str
    rows: Any
    sha256: Any
    hub: str
    hub_id: str | None
    commit: str | None
    known: CatalogDataset | None
    use: str


def escaped(value: Any) -> str:
    """A value on one line, as Markdown that shows it as it is; a folder by its last part, a long value by its start."""
    text = " ".join(printable(str(value)).split())
    text = _PATH.sub(lambda found: re.split(r"[\\/]", found[0].rstrip("\\/"))[-1], text)
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    return _MARKDOWN.sub(r"\\\1", text)


def hub_id_of(ws: Workspace, model: str) -> str | None:
    """The hub id of a model; None for a folder of this machine, which may have a name of that form, too."""
    return model if HUB_ID.fullmatch(model) and find_base(ws, model).folder is None else None


def base_card(ws: Workspace, name: str) -> dict[str, Any]:
    """The metadata of the base model's own card, where it lies on this machine; {} elsewhere."""
    import yaml

    base = find_base(ws, name)
    path = base.folder / CARD if base.folder is not None else cached_file(name, CARD)
    try:
        text = read_text(path) if path is not None else ""
        found = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", text, re.DOTALL)
        values = yaml.safe_load(found[1]) if found and len(found[1]) < 100_000 else None
    except (DataError, yaml.YAMLError, RecursionError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def datasets_of(ws: Workspace, record: RunRecord) -> Iterator[Dataset]:
    catalog = {known.hub_id: known for known in load_datasets().values()}
    elsewhere = {known.modelscope_id: known for known in load_datasets().values() if known.modelscope_id}
    for use, names in (("training", record.datasets or {}), ("held out", record.held_out or {})):
        for name, rows in names.items():
            manifest = read_manifest(ws, name)
            source = manifest.source if manifest else {}
            hub_id, commit = (
                value if isinstance(value, str) else None for value in (source.get("hub_id"), source.get("commit"))
            )
            sha256 = (record.checksums or {}).get(name)
            hub = "modelscope" if source.get("hub") == "modelscope" else "hf"
            known = (elsewhere if hub == "modelscope" else catalog).get(hub_id or "")
            yield Dataset(name, rows, sha256, hub, hub_id, commit, known, use)
