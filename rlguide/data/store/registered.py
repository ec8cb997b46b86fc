"""Registered datasets as the engine will read them: checked as far as their first rows, and counted."""

from __future__ import annotations

import hashlib
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from rlguide.catalog.methods import SFT_COMMAND
from rlguide.data.names import heldout_name, parent_name
from rlguide.data.readers.files import count_rows, open_source
from rlguide.data.store.dataset_info import (
    DEFAULT_COLUMNS,
    REMOTE_KEYS,
    Entry,
    Kind,
    data_files,
    data_path,
    entry_kind,
    find_entry,
    read_registry,
)
from rlguide.data.store.manifest import DataFile, read_manifest
from rlguide.errors import DataError, did_you_mean
from rlguide.progress import Ticker
from rlguide.workspace import Workspace, user_cache

READ_SUFFIXES = (".json", ".jsonl", ".parquet", ".csv")
FIRST_ROWS = 50  # a column that only some rows have, such as system, is in one of them
LARGE_LIST = 8 << 20  # bytes: from here on the length of a JSON list is remembered
Wanted = Literal["pairs", "labels", "prompts", "responses"]
# The engine's words for the columns that an entry must name.
_COLUMNS: dict[Wanted, tuple[str, ...]] = {
    "pairs": ("chosen", "rejected"),
    "labels": ("kto_tag",),
    "prompts": (),
    "responses": (),
}
_REFUSED: dict[Wanted, tuple[Kind, ...]] = {  # kinds that a stage refuses, or drops every row of
    "pairs": ("labels", "responses", "other"),
    "labels": ("pairs", "responses", "other"),
    "prompts": ("pairs",),
    "responses": ("pairs", "labels"),
}


@dataclass(frozen=True)
class RegisteredDataset:
    """A dataset that is ready to train on."""

    name: str
    path: Path | None  # its file or folder, None if the engine itself fetches it from a hub
    rows: int | None  # pairs, or labelled responses; None also for kinds of file that rlguide does not read
    formatting: str
    ranking: bool  # True for pairs, False for single responses
    columns: dict[str, str]  # the engine's words (prompt, messages, chosen, ...) -> columns
    heldout: str | None  # the name of its held-out dataset
    entry: Entry = field(default_factory=dict, repr=False)  # as dataset_info.json has it

    @property
    def reading(self) -> Entry:
        """What its entry says of how its file is read: columns, tags, samples; not where the file lies."""
        return {key: value for key, value in self.entry.items() if key != "file_name"}


def check_registered(workspace: Workspace, names: list[str], wanted: Wanted = "pairs") -> list[RegisteredDataset]:
    """The registered datasets of these names, each checked as far as its first 50 rows.

    `wanted` is what they must hold: pairs, labelled responses, prompts with single responses (for PPO), or with
    responses to imitate (for SFT).

    Raises:
        UsageError: a name is not in the registry.
        DataError: the entry is of another kind, its file is missing or empty, a column is not there, or a label is not
            one that the engine takes.
    """
    entries = read_registry(workspace)
    found = []
    for name in names:
        kind = entry_kind(find_entry(workspace, entries, name))
        if kind in _REFUSED[wanted]:
            raise _another_kind(name, kind, wanted)
        found.append(_check(workspace, entries, name, _COLUMNS[wanted]))
    return found


def _another_kind(name: str, kind: Kind, wanted: Wanted) -> DataError:
    if kind == "pairs" and wanted in ("prompts", "responses"):
        use = "ppo" if wanted == "prompts" else "sft"
        what = f"holds pairs, and LLaMA-Factory's stage {use} refuses those"
        fix = f"name its view: rlguide view {shlex.quote(name)} --use {shlex.quote(use)}"
    elif wanted == "responses":
        what = "holds labelled responses, and SFT would have to imitate the undesirable ones, too"
        fix = f"register the good ones; or train on both: rlguide train --method kto --dataset {shlex.quote(name)}"
    elif wanted == "labels":
        what = "holds pairs, not labelled responses" if kind == "pairs" else "has no labels (no kto_tag column)"
        what += " in dataset_info.json"
        fix = "name one with labels, or register a file with `rlguide register FILE`"
    elif kind == "responses":
        what = "holds single responses, not pairs"
        fix = f"these are for SFT: {SFT_COMMAND} --dataset {shlex.quote(name)}"
    elif kind == "labels":
        what = "holds labelled single responses, not pairs"
        fix = f"these are for KTO: rlguide train --method kto --dataset {shlex.quote(name)}"
    else:
        what = 'is not a preference dataset (no "ranking": true in dataset_info.json)'
        fix = "choose one with pairs, or register the file with `rlguide register FILE`"
    return DataError(f"dataset {name} {what}", fix)


def _check(workspace: Workspace, entries: dict[str, Entry], name: str, needed: tuple[str, ...]) -> RegisteredDataset:
    """One dataset; `needed` are the engine's words for the columns that it must have."""
    entry = entries[name]
    formatting, columns = _shape(name, entry, needed)
    kind = entry_kind(entry)
    other = entries.get(heldout_name(name))
    heldout = heldout_name(name) if other is not None and entry_kind(other) == kind else None
    path: Path | None = None
    rows: int | None = None
    if not any(key in entry for key in REMOTE_KEYS):
        path = data_path(workspace, name, entry)
        first = _first_file(name, path)
        if first.suffix.lower() in READ_SUFFIXES:
            _check_rows(name, first, columns, columns["kto_tag"] if "kto_tag" in needed else None)
            rows = _count_rows(workspace, name, path)
    return RegisteredDataset(name, path, rows, formatting, kind == "pairs", columns, heldout, entry)


def _shape(name: str, entry: Entry, needed: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """Formatting and columns of an entry, as the engine understands them."""
    formatting = entry.get("formatting", "alpaca")
    if formatting not in DEFAULT_COLUMNS:
        raise DataError(f"dataset {name} has the unknown formatting {formatting!r}", "use alpaca, sharegpt or openai")
    given = entry.get("columns")
    columns = dict(DEFAULT_COLUMNS[formatting] if given is None else given)
    if any(key in entry for key in REMOTE_KEYS):
        return formatting, columns
    prompt = ("prompt", "query") if formatting == "alpaca" else ("messages",)
    if formatting == "alpaca" and "kto_tag" in needed:
        needed = (*needed, "response")  # the response is a column of its own; elsewhere it is the last message
    lacking = [key for key in needed if not columns.get(key)]
    if not any(columns.get(key) for key in prompt):
        lacking.append(prompt[0])
    if lacking:
        raise DataError(
            f"dataset {name} names no column for {' and '.join(lacking)} in dataset_info.json",
            f'add "columns": {{"{lacking[0]}": "..."}} to its entry, or use `rlguide register FILE`',
        )
    return formatting, {key: column for key, column in columns.items() if column}


def _first_file(name: str, path: Path) -> Path:
    files = data_files(path)
    if not files:
        raise DataError(f"the folder of dataset {name} is empty: {path}", "put its files back or register it again")
    if files[0].stat().st_size == 0:
        raise DataError(f"the file of dataset {name} is empty: {files[0]}", "download or register the dataset again")
    return files[0]


def _check_rows(name: str, file: Path, columns: dict[str, str], label: str | None) -> None:
    """The columns and, in the column `label`, the labels of the first rows.

    The engine takes true and false only and drops a row with 1, 0 or text (converter.py), without a word.
    """
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
    for row in rows if label is not None else ():
        if isinstance(row.value, dict) and _engine_label(row.value.get(label), file) is None:
            raise DataError(
                f"dataset {name} has the label {row.value.get(label)!r} at line {row.position}, and"
                " LLaMA-Factory takes true and false only",
                f"register the file with `rlguide register {shlex.quote(str(file))}`, which turns 1 and 0 into true and"
                " false",
            )


def _engine_label(value: Any, file: Path) -> bool | None:
    """The label as the engine's reader of that kind of file has it; None if the engine would drop the row."""
    if file.suffix.lower() == ".csv" and isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())  # a CSV cell has no type until it is read
    return value if isinstance(value, bool) else None


def local_files(dataset: RegisteredDataset) -> list[Path]:
    """The files of a registered dataset. Raises DataError for one that the engine itself fetches."""
    if dataset.path is None:
        raise DataError(
            f"dataset {dataset.name} is fetched by the engine; rlguide has no file of it",
            "use `rlguide download` or `register`",
        )
    return data_files(dataset.path)


def label_counts(workspace: Workspace, names: list[str]) -> tuple[int, int]:
    """Desirable and undesirable responses in these datasets together; from the manifest, else counted in the files.

    Raises UsageError or DataError as `check_registered`, and DataError for a dataset that is not a local file.
    """
    counts = [0, 0]  # undesirable, desirable
    for dataset in check_registered(workspace, names, "labels"):
        if dataset.path is None:
            raise DataError(
                f"dataset {dataset.name} is fetched by the engine; rlguide cannot count its labels",
                "set kto_chosen_weight and kto_rejected_weight yourself, or use `rlguide register`",
            )
        written = written_file(workspace, dataset.name, dataset.path)
        if written is not None and written.desirable is not None:
            counts[True] += written.desirable
            counts[False] += written.rows - written.desirable
        else:
            _count_labels(dataset, counts)
    return counts[True], counts[False]


def _count_labels(dataset: RegisteredDataset, counts: list[int]) -> None:
    column, before = dataset.columns["kto_tag"], sum(counts)
    with Ticker(f"counting the labels of {dataset.name}", "rows", dataset.rows) as ticker:
        for file in local_files(dataset):
            for row in open_source(file).rows():
                label = _engine_label(row.value.get(column), file) if isinstance(row.value, dict) else None
                if label is not None:
                    counts[label] += 1
                    ticker.update(sum(counts) - before)


def written_file(workspace: Workspace, name: str, path: Path) -> DataFile | None:
    """The manifest's record of a dataset's file, if rlguide wrote it and it is as it was."""
    for manifest in (read_manifest(workspace, name), read_manifest(workspace, parent_name(name))):
        for file in manifest.files if manifest is not None else ():
            if file.dataset == name and workspace.data / file.file == path and file.unchanged(workspace.data):
                return file
    return None


def checksum(workspace: Workspace, dataset: RegisteredDataset) -> str | None:
    """The sha256 of a dataset's file (from the manifest if it is as rlguide wrote it), or of those of its files.

    None for a dataset that the engine itself fetches.

    Raises:
        DataError: a file cannot be read.
    """
    if dataset.path is None:
        return None
    if (written := written_file(workspace, dataset.name, dataset.path)) is not None:
        return written.sha256
    digests = [file_digest(file) for file in data_files(dataset.path)]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits. Raises DataError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(
            f"cannot read {path}: {error.strerror or error}", "check the file and its permissions"
        ) from error


def _count_rows(workspace: Workspace, name: str, path: Path) -> int | None:
    """Rows from the manifest if the file is as it was written, else counted."""
    written = written_file(workspace, name, path)
    if written is not None:
        return written.rows
    counts = [_remembered_count(file) for file in data_files(path)]
    return sum(count for count in counts if count is not None) if None not in counts else None


def _remembered_count(path: Path) -> int | None:
    """`count_rows`, remembered for large JSON lists: those must be parsed to be counted (2 s for 100 MB)."""
    status = path.stat()
    if path.suffix.lower() != ".json" or status.st_size < LARGE_LIST:
        return count_rows(path)
    key = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    memory = user_cache() / "rows" / hashlib.sha256(key.encode()).hexdigest()
    with suppress(OSError, ValueError):
        return int(memory.read_text())
    count = count_rows(path)
    with suppress(OSError):  # a read-only home: it is counted again next time
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(str(count))
    return count
