"""Which rows of its datasets a run trains on and which it holds out, as the engine draws them; kept for evaluation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlguide.data.store.dataset_info import REMOTE_KEYS, data_files, data_path, find_entry, read_registry
from rlguide.data.store.prompts import prompt_fingerprints
from rlguide.engine.config_file import split_names
from rlguide.policy.trained_on import FINGERPRINTS, write_numbers
from rlguide.progress import Ticker
from rlguide.recipes.data import data_home
from rlguide.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """Positions in the datasets of a config, one after the other, each cut to `max_samples`."""

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]


def write_fingerprints(ws: Workspace, folder: Path, config: Mapping[str, Any]) -> None:
    """Write the fingerprints of the prompts that a config trains on into a run's folder (see `policy.trained_on`).

    Where the engine's draw cannot be told, all rows of the datasets count. Nothing is written for data that rlguide
    does not read: datasets that the engine fetches itself, and `tokenized_path`.

    Raises:
        UsageError, DataError: a dataset is not registered or damaged. RlguideError: the folder cannot be written.
    """
    import numpy as np

    (folder / FINGERPRINTS).unlink(missing_ok=True)
    data, names = data_home(ws, config), split_names(config.get("dataset"))
    if config.get("tokenized_path") or _is_remote(data, names):
        return
    known = not why_unknown(ws, config)
    limit = row_limit(config) if known else None
    parts = []
    for name in names:
        parts.append(np.fromiter(_ticking(name, islice(prompt_fingerprints(data, name), limit)), dtype=np.uint64))
    found = np.concatenate(parts) if parts else np.zeros(0, dtype=np.uint64)
    if known:
        found = found[split_rows(config, len(found)).train]
    write_numbers(folder, np.unique(found[found != 0]).tolist())


def row_limit(config: Mapping[str, Any]) -> int | None:
    """How many rows of each dataset the engine reads (`max_samples`), None for all."""
    limit = config.get("max_samples")
    return None if limit is None else int(limit)


def _ticking(name: str, values: Iterator[int]) -> Iterator[int]:
    with Ticker(f"reading the prompts of {name}", "rows", None) as ticker:
        for at, value in enumerate(values, start=1):
            ticker.update(at)
            yield value


def split_rows(config: Mapping[str, Any], rows: int) -> Split:
    """Which of `rows` rows the engine trains on, and which it holds out by `val_size`, in its order.

    That is `split_dataset` (llamafactory 0.9.5, data/data_utils.py) and `Dataset.train_test_split` (datasets 4.0),
    which shuffle with NumPy's default generator and the seed of the training.
    """
    import numpy as np

    share = float(config.get("val_size") or 0)
    if share <= 1e-6:
        return Split(np.arange(rows), np.arange(0))
    seed = config.get("seed")
    order = np.random.default_rng(42 if seed is None else int(seed)).permutation(rows)
    held_out = int(share) if share > 1 else math.ceil(share * rows)
    return Split(order[held_out:], order[:held_out])


def why_unknown(ws: Workspace, config: Mapping[str, Any]) -> str:
    """The setting with which it cannot be told which rows the engine trains on; "" if it can.

    Raises:
        UsageError, DataError: a dataset is not registered, or its file is missing.
    """
    data, names = data_home(ws, config), split_names(config.get("dataset"))
    mix = str(config.get("mix_strategy") or "concat")
    if mix != "concat" and len(names) > 1:
        return f"mix_strategy: {mix}"
    for key in ("streaming", "tokenized_path"):
        if config.get(key):
            return f"{key}: {config[key]}"
    if _is_remote(data, names):
        return "a dataset that the engine fetches itself"
    entries = read_registry(data)
    for name in names:
        if entries[name].get("num_samples"):
            return f"num_samples of {name}"  # drawn with a generator whose state is not known
        if len(data_files(data_path(data, name, entries[name]))) > 1:
            return f"the files of {name}, read in the order of their folder"
    return ""


def _is_remote(data: Workspace, names: list[str]) -> bool:
    entries = read_registry(data)
    return any(key in find_entry(data, entries, name) for name in names for key in REMOTE_KEYS)
