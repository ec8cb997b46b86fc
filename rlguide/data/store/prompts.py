"""Fingerprints of the prompts of a registered dataset: eight bytes that are equal for equal prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, get_args

from rlguide.data.cells.asked import engine_prompt
from rlguide.data.example import GPT, BadRow, Turn, prompt_key, turns
from rlguide.data.readers.files import open_source
from rlguide.data.store.columns import messages
from rlguide.data.store.dataset_info import Use, entry_kind, find_entry, is_ours, read_registry
from rlguide.data.store.reading import NAMES, renamer
from rlguide.data.store.registered import (
    RegisteredDataset,
    check_registered,
    local_files,
)
from rlguide.workspace import Workspace


def fingerprint(prompt: Iterable[Turn]) -> int:
    """A number below 2^64, never 0, that is equal for prompts that ask the same (see `example.prompt_key`)."""
    return int.from_bytes(hashlib.blake2b(prompt_key(prompt), digest_size=8).digest(), "little") or 1


def prompt_fingerprints(workspace: Workspace, name: str) -> Iterator[int]:
    """The fingerprint of each row's prompt, in order, whatever stage the dataset is for; 0 for a row without one.

    Raises:
        UsageError, DataError: the dataset is not registered, damaged, or not a local file.
    """
    entry = find_entry(workspace, read_registry(workspace), name)
    kind = entry_kind(entry)
    (dataset,) = check_registered(workspace, [name], "prompts" if kind == "other" else kind)
    is_written_here = any(is_ours(entry, use) for use in get_args(Use))
    columns = ("history", "prompt") if is_written_here else dataset.columns.values()
    rename = renamer(entry.get("tags") or {})
    for file in local_files(dataset):
        for row in open_source(file).rows(columns):
            try:
                prompt = messages(row.value) if is_written_here else prompt_by_entry(dataset, row.value, rename)
                yield fingerprint(prompt)
            except (KeyError, TypeError, ValueError):  # of which BadRow is one
                yield 0


def prompt_by_entry(dataset: RegisteredDataset, value: Any, rename: Any) -> tuple[Turn, ...]:
    """The prompt in a row of a file that somebody else wrote, by the columns of its entry. Raises BadRow for none."""
    if not isinstance(value, dict):
        raise BadRow("not an object")
    row = {NAMES.get(key, key): value.get(column) for key, column in dataset.columns.items()}
    if dataset.formatting == "alpaca":
        row.setdefault("instruction", "")
        return engine_prompt(row)
    conversation = row.get("conversations")
    if not isinstance(conversation, list):
        raise BadRow("no conversation")
    prompt = [turn for turn in turns(list(map(rename, conversation))) if turn.role != "system"]
    if prompt and prompt[-1].role == GPT:  # the response of a label, or of SFT
        prompt.pop()
    return tuple(prompt)
