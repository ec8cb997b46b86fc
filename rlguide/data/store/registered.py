"""Registered datasets of labelled answers: checked, counted, and the weights that KTO gives to the two labels."""

from __future__ import annotations

import math
from itertools import islice
from pathlib import Path
from typing import Any

from rlguide.errors import DataError
from rlguide.preferences.progress import Ticker
from rlguide.preferences.readers import open_source
from rlguide.preferences.registry import (
    FIRST_ROWS,
    READ_SUFFIXES,
    RegisteredDataset,
    check_dataset,
    data_files,
    entry_kind,
    find_entry,
    read_registry,
    written_file,
)
from rlguide.workspace import Workspace

# lambda_D n_D / (lambda_U n_U) should lie between these (arXiv 2402.01306, on the choice of the lambdas; the
# KTOTrainer of trl 0.24 warns outside of the same bounds).
LEAST_RATIO, MOST_RATIO = 1.0, 4 / 3


def check_labelled(workspace: Workspace, names: list[str]) -> list[RegisteredDataset]:
    """The registered datasets of labelled answers of these names, each checked as far as its first 50 rows.

    Raises:
        UsageError: a name is not in the registry.
        DataError: the entry has no labels, its file is missing or empty, a column is not there, or a label is not
            one that the engine takes.
    """
    entries = read_registry(workspace)
    found = []
    for name in names:
        kind = entry_kind(find_entry(workspace, entries, name))
        if kind != "labels":
            what = "holds pairs, not labelled answers" if kind == "pairs" else "has no labels (no kto_tag column)"
            raise DataError(
                f"dataset {name} {what} in dataset_info.json",
                "name one with labels, or register a file with `rlguide register FILE`",
            )
        dataset = check_dataset(workspace, entries, name, ("kto_tag",))
        _check_labels(dataset)
        found.append(dataset)
    return found


def check_prompts(workspace: Workspace, names: list[str]) -> list[RegisteredDataset]:
    """The registered datasets of prompts with single answers (for PPO), each checked as far as its first 50 rows.

    Raises:
        UsageError: a name is not in the registry.
        DataError: it holds pairs, its file is missing or empty, or a column is not there.
    """
    entries = read_registry(workspace)
    found = []
    for name in names:
        if entry_kind(find_entry(workspace, entries, name)) == "pairs":
            raise DataError(
                f"dataset {name} holds pairs, and LLaMA-Factory's stage ppo refuses those",
                f"name its view: rlguide view {name} --use ppo",
            )
        found.append(check_dataset(workspace, entries, name, ()))
    return found


def _check_labels(dataset: RegisteredDataset) -> None:
    """The engine takes true and false only and drops a row with 1, 0 or text (converter.py), without a word."""
    if dataset.path is None:
        return
    file = data_files(dataset.path)[0]
    if file.suffix.lower() not in READ_SUFFIXES:
        return
    column = dataset.columns["kto_tag"]
    for row in islice(open_source(file).rows(), FIRST_ROWS):
        if isinstance(row.value, dict) and engine_label(row.value.get(column), file) is None:
            raise DataError(
                f"dataset {dataset.name} has the label {row.value.get(column)!r} at line {row.position}, and"
                " LLaMA-Factory takes true and false only",
                f"register the file with `rlguide register {file}`, which turns 1 and 0 into true and false",
            )


def engine_label(value: Any, file: Path) -> bool | None:
    """The label as the engine's reader of that kind of file has it; None if the engine would drop the row."""
    if file.suffix.lower() == ".csv" and isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())  # a CSV cell has no type until it is read
    return value if isinstance(value, bool) else None


def label_counts(workspace: Workspace, names: list[str]) -> tuple[int, int]:
    """Desirable and undesirable answers in these datasets together; from the manifest, else counted in the files.

    Raises:
        UsageError, DataError: like `check_labelled`; DataError also for a dataset that is not a local file.
    """
    desirable = undesirable = 0
    for dataset in check_labelled(workspace, names):
        if dataset.path is None:
            raise DataError(
                f"dataset {dataset.name} is fetched by the engine; rlguide cannot count its labels",
                "set kto_chosen_weight and kto_rejected_weight yourself, or use `rlguide register`",
            )
        written = written_file(workspace, dataset.name, dataset.path)
        if written is not None and written.desirable is not None:
            good, bad = written.desirable, written.rows - written.desirable
        else:
            good, bad = _count(dataset, dataset.path)
        desirable += good
        undesirable += bad
    return desirable, undesirable


def _count(dataset: RegisteredDataset, path: Path) -> tuple[int, int]:
    column = dataset.columns["kto_tag"]
    counts = [0, 0]
    with Ticker(f"counting the labels of {dataset.name}", "rows", dataset.rows) as ticker:
        for file in data_files(path):
            for row in open_source(file).rows():
                label = engine_label(row.value.get(column), file) if isinstance(row.value, dict) else None
                if label is not None:
                    counts[label] += 1
                    ticker.update(sum(counts))
    return counts[True], counts[False]


def kto_weights(desirable: int, undesirable: int) -> tuple[float, float]:
    """The weights of desirable and undesirable answers (kto_chosen_weight, kto_rejected_weight) for these counts.

    (1, 1) where weight times count of the desirable ones is 1 to 4/3 of that of the others, as the KTO paper
    recommends; else the weight of the rarer label is raised as far as needed (rounded up to four decimals).

    Raises:
        DataError: one of the labels has no answers.
    """
    if desirable < 1 or undesirable < 1:
        missing = "desirable" if desirable < 1 else "undesirable"
        raise DataError(f"the data has no {missing} answers, and KTO needs both kinds", "add rows with the other label")
    ratio = desirable / undesirable
    if ratio < LEAST_RATIO:
        return _round_up(LEAST_RATIO / ratio), 1.0
    if ratio > MOST_RATIO:
        return 1.0, _round_up(ratio / MOST_RATIO)
    return 1.0, 1.0


def _round_up(weight: float) -> float:
    return math.ceil(weight * 1e4) / 1e4
