"""`data/dataset_info.json`, LLaMA-Factory's registry of datasets: the one module that reads and writes it.

What a name means there is defined by llamafactory/data/parser.py (0.9.5); entries that rlguide did not write are
kept as they are, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rlguide.data.store.manifest import DataManifest
from rlguide.errors import DataError, UsageError, did_you_mean
from rlguide.locks import locked
from rlguide.workspace import Workspace, read_json, write_json

Kind = Literal["pairs", "labels", "responses", "other"]
# Where an entry's rows come from when it is not a file of the data folder (parser.py, get_dataset_list).
REMOTE_KEYS = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
# What the engine reads when an entry has no "columns" at all; with "columns", what is not named there is not read.
DEFAULT_COLUMNS = {
    "alpaca": {"prompt": "instruction", "query": "input", "response": "output"},
    "sharegpt": {"messages": "conversations"},
    "openai": {"messages": "conversations"},
}


def read_registry(workspace: Workspace) -> dict[str, Entry]:
    """Every entry by name, {} if there is no registry yet. Raises DataError if it is not a JSON object of objects."""
    if not workspace.dataset_info.exists():
        return {}
    entries = read_json(workspace.dataset_info)
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise DataError(
            f"{workspace.dataset_info} is not an object of dataset entries",
            "fix it, or move it away and register again",
        )
    return entries


def change_registry(workspace: Workspace, add: Mapping[str, Entry], remove: tuple[str, ...] = ()) -> None:
    """Put entries into the registry under its lock, and take others out; everything else stays as it is.

    Raises DataError for a broken registry, which is not overwritten; RlguideError if it cannot be locked or written.
    """
    path = workspace.dataset_info.resolve()  # a linked registry stays linked
    with locked(path):
        entries = read_registry(workspace)
        for name in remove:
            entries.pop(name, None)
        entries.update(add)
        write_json(path, entries)


def find_entry(workspace: Workspace, entries: dict[str, Entry], name: str) -> Entry:
    """The entry of a name. Raises UsageError if there is none, DataError if it is not an entry."""
    if name not in entries:
        raise UsageError(
            f"no dataset {name} in {workspace.relative(workspace.dataset_info)}{did_you_mean(name, list(entries))}",
            "see `rlguide list`; `rlguide download NAME` or `rlguide register FILE` adds one",
        )
    columns = entries[name].get("columns")
    is_entry = columns is None or isinstance(columns, dict)
    if not is_entry or not all(column is None or isinstance(column, str) for column in (columns or {}).values()):
        raise DataError(
            f'"columns" of dataset {name} in dataset_info.json is not an object of names',
            "correct it there, or register the file again with `rlguide register FILE`",
        )
    return entries[name]


def entry_kind(entry: Entry) -> Kind:
    """What an entry says that its rows are: pairs to rank, labelled responses (for KTO), single ones that rlguide wrote
    (for SFT), or none of these: a view, or rows for SFT that somebody else registered.
    """
    if entry.get("ranking") is True:
        return "pairs"
    columns = entry.get("columns")
    if isinstance(columns, dict) and columns.get("kto_tag"):
        return "labels"
    return "responses" if is_ours(entry, "responses") else "other"


def dataset_kind(workspace: Workspace, name: str) -> Kind:
    """What a registered dataset holds, by its entry alone. Raises as `read_registry` and `find_entry`."""
    return entry_kind(find_entry(workspace, read_registry(workspace), name))


def data_path(workspace: Workspace, name: str, entry: Entry) -> Path:
    """The file or folder of an entry. Raises DataError if it names none or it is not there."""
    file_name = entry.get("file_name")
    if not isinstance(file_name, str) or not file_name:
        raise DataError(f"dataset {name} names no file in dataset_info.json", 'add "file_name" to its entry')
    path = workspace.data / file_name
    if not path.exists():
        raise DataError(
            f"the file of dataset {name} is missing: {workspace.relative(path)}",
            "put it back, or download or register the dataset again",
        )
    return path


def data_files(path: Path) -> list[Path]:
    """The files of a dataset, which may be a folder of them."""
    return sorted(path.iterdir()) if path.is_dir() else [path]


def is_intact(workspace: Workspace, manifest: DataManifest) -> bool:
    """Whether all files of a dataset that rlguide wrote are as they were, and registered."""
    entries = read_registry(workspace)
    return all(
        file.unchanged(workspace.data) and entries.get(file.dataset, {}).get("file_name") == file.file
        for file in manifest.files
    )


Entry = dict[str, Any]
Use = Literal["pairs", "labels", "responses", "sft", "ppo"]
_RESPONSES: dict[Use, dict[str, str]] = {
    "pairs": {"chosen": "chosen", "rejected": "rejected"},
    "labels": {"response": "answer", "kto_tag": "label"},
    "responses": {"response": "response"},
    "sft": {"response": "chosen"},
    "ppo": {"response": "chosen"},  # the response is not trained on; the engine's preprocessing wants one
}


def our_entry(file_name: str, use: Use = "pairs") -> Entry:
    """The entry of a file that rlguide wrote (see `columns`), for one use of it."""
    columns = {"prompt": "prompt", "history": "history", "system": "system", **_RESPONSES[use]}
    return {"file_name": file_name, "ranking": use == "pairs", "formatting": "alpaca", "columns": columns}


def is_ours(entry: Entry, use: Use = "pairs") -> bool:
    """Whether an entry is as rlguide writes it for this use."""
    return entry == our_entry(str(entry.get("file_name")), use)


def is_view(entry: Entry) -> bool:
    """Whether an entry is one of ours that shows a file of pairs to another stage (sft, ppo)."""
    return is_ours(entry, "sft") or is_ours(entry, "ppo")
