"""Which pairs a run is evaluated on: those it held out, without any whose prompt its stack was trained on.

Names do not tell that: a dataset can be registered again with another split, a KTO run trains on a view of the pairs,
a round below may have seen them. So each pair is compared with the fingerprints that the runs of the stack have left
(`policy.trained_on`). What must be left out, or what the engine drew itself, is written into `<run>/eval/data`, a
data folder of its own.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rlguide.catalog.methods import Method, find_method
from rlguide.console import say, warn
from rlguide.data.example import Example
from rlguide.data.ingest.views import viewed
from rlguide.data.store.columns import to_batch
from rlguide.data.store.dataset_info import change_registry, our_entry
from rlguide.data.store.prompts import prompt_fingerprints
from rlguide.data.store.reading import examples_by_row
from rlguide.data.store.registered import RegisteredDataset, check_registered
from rlguide.engine.config_file import split_names
from rlguide.errors import DataError, UsageError
from rlguide.policy.trained_on import TrainedPrompts
from rlguide.recipes.data import data_home
from rlguide.runs.choose import why_no_result
from rlguide.runs.record import Run
from rlguide.runs.training_rows import row_limit, split_rows, why_unknown
from rlguide.workspace import Workspace, atomic_write

_ANOTHER = "name pairs it was not trained on: --dataset NAME"


def held_out_keys(ws: Workspace, run: Run) -> dict[str, Any]:
    """The config keys that name the pairs which a run held out; {} if there are none.

    They are its eval_dataset, or what was registered as held out from its training data, or the `val_size` share that
    the engine split off. The views of KTO and PPO are traced back to their pairs.

    Raises:
        DataError: dataset_info.json is broken.
    """
    data, method = data_home(ws, run.config), find_method(run.method_name)
    trained = _pairs_of(data, method, run.config.get("dataset"))
    names = _pairs_of(data, method, run.config.get("eval_dataset"))
    if not names and run.config.get("val_size"):
        if method.data == "pairs" and trained:
            return {"dataset": run.config["dataset"], "val_size": run.config["val_size"]}
        return {"eval_dataset": ",".join(trained)} if trained else {}  # of the views' rows; the pairs may be split
    if not names:
        try:
            names = [item.heldout for item in check_registered(data, trained) if item.heldout]
        except (DataError, UsageError):  # the data is gone
            return {}
    return {"eval_dataset": ",".join(names)} if names else {}


def trained_pairs(ws: Workspace, run: Run) -> list[str]:
    """The datasets of pairs that a run was trained on, as they are or as another stage sees them.

    Raises:
        DataError: dataset_info.json is broken.
    """
    return _pairs_of(data_home(ws, run.config), find_method(run.method_name), run.config.get("dataset"))


def why_not_evaluable(ws: Workspace, run: Run, has_pairs: bool = False) -> str:
    """Why an evaluation of the run would find nothing to score; "" if it can be evaluated.

    Args:
        has_pairs: whether pairs are named, so that the run need not have held out any.
    """
    why = why_no_result(ws, run)
    if why or has_pairs:
        return why
    keys = held_out_keys(ws, run)
    is_of_rows = bool(run.config.get("val_size")) and "val_size" not in keys and not run.config.get("eval_dataset")
    return "" if keys and not is_of_rows else "held no pairs out"


def _pairs_of(data: Workspace, method: Method, names: Any) -> list[str]:
    if method.data == "pairs":
        return split_names(names)
    return list(dict.fromkeys(pairs for name in split_names(names) if (pairs := viewed(data, name)) is not None))


def leave_out_trained(
    ws: Workspace, run: Run, config: dict[str, Any], seen: TrainedPrompts
) -> tuple[dict[str, Any], int]:
    """The config of an evaluation without the pairs that were trained on, and how many pairs are left.

    Args:
        seen: what the policy and its reference were trained on (`trained_on`).

    Raises:
        UsageError: none is left, or it cannot be told which were held out.
        DataError: the data is missing or damaged.
    """
    data = data_home(ws, config)
    names = split_names(config.get("eval_dataset") or config.get("dataset"))
    found = check_registered(data, names)
    for note in seen.notes:
        warn(note)
    is_split = bool(config.get("val_size")) and not config.get("eval_dataset")
    _check_known(ws, run, found, seen, is_split)
    if any(item.path is None for item in found):
        warn("the engine fetches these pairs itself: it was not checked whether the policy was trained on them")
        return config, sum(item.rows or 0 for item in found)
    rows = {name: _drawn(name, prompt_fingerprints(data, name)) for name in dict.fromkeys(names)}
    wanted = _wanted(ws, run, config, rows) if is_split else {name: set(range(len(rows[name]))) for name in rows}
    kept = {name: {at for at in wanted[name] if rows[name][at] not in seen} for name in rows}
    total, left = (sum(map(len, chosen.values())) for chosen in (wanted, kept))
    if not left:
        raise UsageError(f"{', '.join(names)} was trained on: none of its {total:,} pairs is held out", _ANOTHER)
    if left < total:
        say(f"left out   {total - left:,} of {total:,} pairs: their prompts were trained on")
    elif not is_split:
        return config, total
    return _rewritten(ws, run, data, config, kept)


def _drawn(name: str, fingerprints: Iterator[int]) -> list[int]:
    found = list(fingerprints)
    if not found:
        raise DataError(f"dataset {name} has no rows", "download or register the dataset again")
    return found


def _check_known(ws: Workspace, run: Run, found: list[RegisteredDataset], seen: TrainedPrompts, is_split: bool) -> None:
    """Compare names where a run has left no fingerprints, and say that no more was checked."""
    if not seen.unchecked:
        return
    data, method = data_home(ws, run.config), find_method(run.method_name)
    trained = {*split_names(run.config.get("dataset")), *_pairs_of(data, method, run.config.get("dataset"))}
    for item in found if not is_split else ():
        if item.name in trained:
            raise UsageError(f"{item.name} was trained on, so it is not held out", _ANOTHER)
    warn(
        f"{', '.join(seen.unchecked)}: its training prompts are not on record, so it was not checked whether these"
        " pairs are among them"
    )


def _wanted(ws: Workspace, run: Run, config: Mapping[str, Any], rows: Mapping[str, list[int]]) -> dict[str, set[int]]:
    """The rows that the engine split off in training, by dataset."""
    drawn = {**run.config, **{key: config[key] for key in ("dataset", "val_size", "seed") if key in config}}
    if why := why_unknown(ws, drawn):
        raise UsageError(f"which pairs {run.name} held out cannot be told ({why})", _ANOTHER)
    limit = row_limit(run.config)
    places = [(name, at) for name in split_names(config["dataset"]) for at in range(len(rows[name][:limit]))]
    wanted: dict[str, set[int]] = {name: set() for name in rows}
    for position in split_rows(drawn, len(places)).held_out.tolist():
        name, at = places[position]
        wanted[name].add(at)
    return wanted


def _rewritten(
    ws: Workspace, run: Run, data: Workspace, config: Mapping[str, Any], kept: Mapping[str, set[int]]
) -> tuple[dict[str, Any], int]:
    """The config on copies of the pairs that are kept."""
    private = Workspace(run.path / "eval")
    shutil.rmtree(private.data, ignore_errors=True)
    entries: dict[str, Any] = {}
    count = 0
    for name in (name for name in kept if kept[name]):
        pairs = [pair for at, pair in enumerate(examples_by_row(data, name)) if at in kept[name] and pair is not None]
        if pairs:
            file = f"held_out_{len(entries)}.parquet"  # a name in dataset_info.json may hold anything, also a path
            _write(private.data / file, pairs)
            entries[name] = our_entry(file)
            count += len(pairs)
    if not count:
        raise DataError(f"none of the pairs that {run.name} held out can be read", "register the dataset again")
    change_registry(private, entries)
    rest = {key: value for key, value in config.items() if key not in ("dataset", "val_size")}
    return {**rest, "dataset_dir": ws.relative(private.data), "eval_dataset": ",".join(entries)}, count


def _write(path: Path, pairs: list[Example]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_write(path, "wb") as file:
        pq.write_table(pa.Table.from_batches([to_batch(pairs, "pairs")]), file)
