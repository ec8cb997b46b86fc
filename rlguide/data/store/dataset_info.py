"""`data/dataset_info.json`, LLaMA-Factory's registry of datasets: the one module that reads and writes it.

What a name means there is defined by llamafactory/data/parser.py (0.9.5); entries that rlguide did not write are
kept as they are, in their order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from rlguide.errors import DataError, UsageError, did_you_mean
from rlguide.preferences.entries import Entry
from rlguide.preferences.manifest import DataFile, DataManifest, read_manifest
from rlguide.preferences.readers import count_rows, open_source
from rlguide.workspace import Workspace, locked, read_json, user_cache, write_json

Kind = Literal["pairs", "labels", "other"]

# Where an entry's rows come from when it is not a file of the data folder (parser.py, get_dataset_list).
REMOTE_KEYS = ("hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
# What the engine reads when an entry has no "columns" at all; with "columns", what is not named there is not read.
DEFAULT_COLUMNS = {
    "alpaca": {"prompt": "instruction", "query": "input"},
    "sharegpt": {"messages": "conversations"},
    "openai": {"messages": "conversations"},
}
READ_SUFFIXES = (".json", ".jsonl", ".parquet", ".csv")
FIRST_ROWS = 50  # a column that only some rows have, such as system, is in one of them
LARGE_LIST = 8 << 20  # bytes: from here on the length of a JSON list is remembered


def read_registry(workspace: Workspace) -> dict[str, Entry]:
    """Every entry by name, {} if there is no registry yet.

    Raises:
        DataError: dataset_info.json is not a JSON object of objects.
    """
    if not workspace.dataset_info.exists():
        return {}
    entries = read_json(workspace.dataset_info)
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise DataError(
            f"{workspace.dataset_info} is not an object of dataset entries",
            "mend it, or move it away and register again",
        )
    return entries


def change_registry(workspace: Workspace, add: Mapping[str, Entry], remove: tuple[str, ...] = ()) -> None:
    """Put entries into the registry under its lock, and take others out; everything else stays as it is.

    Raises:
        DataError: the registry is broken; it is not overwritten.
        RlguideError: it cannot be locked or written.
    """
    path = workspace.dataset_info.resolve()  # a linked registry stays linked
    with locked(path):
        entries = read_registry(workspace)
        for name in remove:
            entries.pop(name, None)
        entries.update(add)
        write_json(path, entries)


_PLAIN_NAME = re.compile(r"[^\W\d_][\w.-]*", re.UNICODE)
_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def safe_name(text: str) -> str:
    """The nearest name that LLaMA-Factory's comma-separated `dataset:` and a plain YAML value both take.

    Letters of any language, digits, `_`, `-` and `.`; it begins with a letter and is no YAML word such as `on`.
    """
    import unicodedata

    name = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text)).strip("_.-")
    if not _PLAIN_NAME.fullmatch(name) or name.lower() in _YAML_WORDS:
        name = f"data_{name}"
    while len(name.encode()) > 120:  # leaves room for .manifest.json within the 255 bytes of a file name
        name = name[:-1]
    return name.rstrip("_.-")


def check_name(name: str) -> None:
    """Raises UsageError if `name` cannot be a dataset's name."""
    if name != safe_name(name):
        raise UsageError(
            f"{name!r} cannot be a dataset name: LLaMA-Factory splits names at commas, and YAML has words of its own",
            f"use letters, digits, _ and -, for example --name {safe_name(name)}",
        )


@dataclass(frozen=True)
class RegisteredDataset:
    """A preference dataset that is ready to train on.

    `path` is its file or folder and `rows` its pairs; both are None for a dataset that the engine itself fetches
    from a hub, and `rows` also for kinds of file that rlguide does not read. `columns` maps the engine's words
    (prompt, messages, chosen, ...) to columns. `heldout` is the name of its held-out dataset. `ranking` is True for
    pairs and False for labelled answers, whose `rows` are the answers.
    """

    name: str
    path: Path | None
    rows: int | None
    formatting: str
    ranking: bool
    columns: dict[str, str]
    heldout: str | None


def check_registered(workspace: Workspace, names: list[str]) -> list[RegisteredDataset]:
    """The registered preference datasets of these names, each checked as far as its first row.

    Raises:
        UsageError: a name is not in the registry.
        DataError: the entry is no preference dataset, its file is missing or empty, or a column is not there.
    """
    entries = read_registry(workspace)
    return [_check(workspace, entries, name) for name in names]


def _check(workspace: Workspace, entries: dict[str, Entry], name: str) -> RegisteredDataset:
    entry = find_entry(workspace, entries, name)
    kind = entry_kind(entry)
    if kind == "labels":
        raise DataError(
            f"dataset {name} holds labelled single answers, not pairs",
            f"these are for KTO: rlguide train --method kto --dataset {name}",
        )
    if kind == "other":
        raise DataError(
            f'dataset {name} is not a preference dataset (no "ranking": true in dataset_info.json)',
            "choose one with pairs, or register the file with `rlguide register FILE`",
        )
    return check_dataset(workspace, entries, name, ("chosen", "rejected"))


def find_entry(workspace: Workspace, entries: dict[str, Entry], name: str) -> Entry:
    """The entry of a name. Raises UsageError if there is none."""
    if name not in entries:
        raise UsageError(
            f"no dataset {name} in {workspace.relative(workspace.dataset_info)}{did_you_mean(name, list(entries))}",
            "see `rlguide list`; `rlguide download NAME` or `rlguide register FILE` adds one",
        )
    return entries[name]


def entry_kind(entry: Entry) -> Kind:
    """What an entry says that its rows are: pairs to rank, labelled answers (for KTO), or neither."""
    if entry.get("ranking") is True:
        return "pairs"
    columns = entry.get("columns")
    return "labels" if isinstance(columns, dict) and columns.get("kto_tag") else "other"


def dataset_kind(workspace: Workspace, name: str) -> Kind:
    """What a registered dataset holds, by its entry alone.

    Raises:
        UsageError: the name is not in the registry. DataError: dataset_info.json is broken.
    """
    return entry_kind(find_entry(workspace, read_registry(workspace), name))


def check_dataset(
    workspace: Workspace, entries: dict[str, Entry], name: str, answers: tuple[str, ...]
) -> RegisteredDataset:
    """One dataset, checked as far as its first rows; `answers` are the engine's words for the columns it must have.

    Raises:
        DataError: like `check_registered`.
    """
    entry = entries[name]
    formatting, columns = _shape(name, entry, answers)
    kind = entry_kind(entry)
    heldout = f"{name}_test" if entry_kind(entries.get(f"{name}_test", {})) == kind else None
    path: Path | None = None
    rows: int | None = None
    if not any(key in entry for key in REMOTE_KEYS):
        path = data_path(workspace, name, entry)
        first = _first_file(name, path)
        if first.suffix.lower() in READ_SUFFIXES:
            _check_columns(name, first, columns)
            rows = _rows(workspace, name, path)
    return RegisteredDataset(name, path, rows, formatting, kind == "pairs", columns, heldout)


def _shape(name: str, entry: Entry, answers: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Formatting and columns of an entry, as the engine understands them."""
    formatting = entry.get("formatting", "alpaca")
    if formatting not in DEFAULT_COLUMNS:
        raise DataError(f"dataset {name} has the unknown formatting {formatting!r}", "use alpaca, sharegpt or openai")
    given = entry.get("columns")
    columns = dict(DEFAULT_COLUMNS[formatting] if given is None else given)
    if any(key in entry for key in REMOTE_KEYS):
        return formatting, columns
    question = ("prompt", "query") if formatting == "alpaca" else ("messages",)
    if formatting == "alpaca" and "kto_tag" in answers:
        answers = (*answers, "response")  # the answer is a column of its own; elsewhere it is the last message
    lacking = [key for key in answers if not columns.get(key)]
    if not any(columns.get(key) for key in question):
        lacking.append(question[0])
    if lacking:
        raise DataError(
            f"dataset {name} names no column for {' and '.join(lacking)} in dataset_info.json",
            f'add "columns": {{"{lacking[0]}": "..."}} to its entry, or use `rlguide register FILE`',
        )
    return formatting, {key: column for key, column in columns.items() if column}


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


def _first_file(name: str, path: Path) -> Path:
    files = data_files(path)
    if not files:
        raise DataError(f"the folder of dataset {name} is empty: {path}", "put its files back or register it again")
    if files[0].stat().st_size == 0:
        raise DataError(f"the file of dataset {name} is empty: {files[0]}", "download or register the dataset again")
    return files[0]


def data_files(path: Path) -> list[Path]:
    """The files of a dataset, which may be a folder of them."""
    return sorted(path.iterdir()) if path.is_dir() else [path]


def local_files(dataset: RegisteredDataset) -> list[Path]:
    """The files of a registered dataset. Raises DataError for one that the engine itself fetches."""
    if dataset.path is None:
        raise DataError(
            f"dataset {dataset.name} is fetched by the engine; rlguide has no file of it",
            "use `rlguide download` or `register`",
        )
    return data_files(dataset.path)


def _check_columns(name: str, file: Path, columns: dict[str, str]) -> None:
    rows = list(islice(open_source(file).rows(), FIRST_ROWS))
    if not rows:
        raise DataError(f"dataset {name} has no rows: {file}", "download or register the dataset again")
    if not isinstance(rows[0].value, dict):
        raise DataError(
            f"the first row of dataset {name} is not an object: {rows[0].broken or file}", "register it again"
        )
    there = {key: None for row in rows if isinstance(row.value, dict) for key in row.value}
    for key, column in columns.items():
        if column not in there:
            raise DataError(
                f"dataset {name} has no column {column} (its {key}){did_you_mean(column, list(there))}",
                'correct "columns" in dataset_info.json, or register the file again with `rlguide register FILE`',
            )


def _rows(workspace: Workspace, name: str, path: Path) -> int | None:
    """Rows from the manifest if the file is as it was written, else counted."""
    written = written_file(workspace, name, path)
    if written is not None:
        return written.rows
    counts = [_remembered_count(file) for file in data_files(path)]
    return sum(count for count in counts if count is not None) if None not in counts else None


def is_intact(workspace: Workspace, manifest: DataManifest) -> bool:
    """Whether all files of a dataset that rlguide wrote are as they were, and registered."""
    entries = read_registry(workspace)
    return all(
        file.unchanged(workspace.data) and entries.get(file.dataset, {}).get("file_name") == file.file
        for file in manifest.files
    )


def written_file(workspace: Workspace, name: str, path: Path) -> DataFile | None:
    """The manifest's record of a dataset's file, if rlguide wrote it and it is as it was."""
    for manifest in filter(
        None, (read_manifest(workspace, name), read_manifest(workspace, name.removesuffix("_test")))
    ):
        for file in manifest.files:
            if file.dataset == name and workspace.data / file.file == path and file.unchanged(workspace.data):
                return file
    return None


def _remembered_count(path: Path) -> int | None:
    """`count_rows`, remembered for large JSON lists: those must be parsed to be counted (2 s for 100 MB)."""
    status = path.stat()
    if path.suffix.lower() != ".json" or status.st_size < LARGE_LIST:
        return count_rows(path)
    import hashlib

    key = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    memory = user_cache() / "rows" / hashlib.sha256(key.encode()).hexdigest()
    try:
        return int(memory.read_text())
    except (OSError, ValueError):
        count = count_rows(path)
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(str(count))
    except OSError:
        pass  # a read-only home: it is counted again next time
    return count
