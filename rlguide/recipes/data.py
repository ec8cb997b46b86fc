"""Which datasets a training reads and evaluates on, each checked once."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlguide.catalog.methods import Method
from rlguide.data.ingest.views import ViewUse, view_names
from rlguide.data.names import is_heldout, is_view_name
from rlguide.data.store.dataset_info import Kind, dataset_kind, read_registry
from rlguide.data.store.registered import RegisteredDataset, check_registered, label_counts
from rlguide.engine.config_file import split_names
from rlguide.errors import UsageError
from rlguide.recipes.shadow import shadow
from rlguide.workspace import Workspace

# What a dataset of pairs is shown as, by a method's data.
VIEWS: dict[str, ViewUse] = {"labels": "kto", "prompts": "ppo", "responses": "sft"}
# What is taken for a method's data if no dataset is named.
_KINDS: dict[str, tuple[Kind, ...]] = {
    "pairs": ("pairs",),
    "labels": ("pairs", "labels"),
    "prompts": ("pairs", "labels", "responses"),
    "responses": ("pairs", "responses"),
}


@dataclass(frozen=True)
class TrainingData:
    """The datasets that are trained on, and those that are evaluated on.

    `size`: bytes of all their files. `labels`: desirable and undesirable responses, where the method weighs them.
    """

    train: list[RegisteredDataset]
    held_out: list[RegisteredDataset]
    size: int = 0
    labels: tuple[int, int] | None = None

    @property
    def rows(self) -> int:
        """Rows that are trained on; datasets that the engine itself fetches count as 0."""
        return sum(item.rows or 0 for item in self.train)


def choose_data(
    ws: Workspace, method: Method, names: tuple[str, ...], settings: Mapping[str, Any], evaluates: bool, dry_run: bool
) -> TrainingData:
    """The datasets for a method; pairs are seen as labelled responses, prompts or chosen responses if need be.

    Args:
        names: registered datasets; without any, the only one that fits.
        settings: the values of `--set`, which win.
        evaluates: whether the method can evaluate while it trains.
        dry_run: a view that is missing is made aside, and nothing is written in the workspace.

    Raises:
        UsageError, DataError: an unknown name, or data that the method cannot use.
    """
    held_out = split_names(settings["eval_dataset"]) if "eval_dataset" in settings else None
    held_out = held_out if evaluates else []
    if "dataset" in settings or method.data == "pairs":
        train = split_names(settings["dataset"]) if "dataset" in settings else list(names) or _only_dataset(ws, method)
        return _counted(data_home(ws, settings), method, train, held_out)
    with shadow(ws) if dry_run else nullcontext(ws) as place:
        train = view_names(place, list(names) or _only_dataset(place, method), VIEWS[method.data])
        return _counted(data_home(place, settings), method, train, held_out)


def _counted(ws: Workspace, method: Method, train: list[str], held_out: list[str] | None) -> TrainingData:
    data = check_data(ws, method, train, held_out)
    weighs = "kto_chosen_weight" in method.keys
    return replace(data, labels=label_counts(ws, [item.name for item in data.train]) if weighs else None)


def data_of_config(ws: Workspace, method: Method, config: Mapping[str, Any]) -> TrainingData:
    """The datasets that a config names, each checked. Raises UsageError or DataError."""
    train, held_out = split_names(config.get("dataset")), split_names(config.get("eval_dataset"))
    return check_data(data_home(ws, config), method, train, held_out)


def check_data(ws: Workspace, method: Method, train: list[str], held_out: list[str] | None) -> TrainingData:
    """Check the datasets of a training. `held_out`: None for those that were registered with the training data.

    Raises:
        UsageError: an unknown name, or rows that are both trained on and evaluated on.
        DataError: data that the method cannot use.
    """
    for names in (train, held_out or []):
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(
                f"the dataset {twice} is named twice", "name each dataset once; for more passes, num_train_epochs"
            )
    datasets = _as_sampled(ws, check_registered(ws, train, method.data))
    for item in datasets:
        if item.heldout in train:
            raise UsageError(
                f"{item.heldout} holds the rows that {item.name} keeps out of training",
                f"remove {item.heldout} from --dataset; evaluation needs rows that were not trained on",
            )
    if held_out is None:
        held_out = [item.heldout for item in datasets if item.heldout]
    both = set(train) & set(held_out)
    if both:
        raise UsageError(
            f"{sorted(both)[0]} is both trained on and evaluated on", "remove it from dataset or from eval_dataset"
        )
    evaluated = _as_sampled(ws, check_registered(ws, held_out, method.data))
    paths = [item.path for item in (*datasets, *evaluated) if item.path is not None]
    return TrainingData(datasets, evaluated, sum(path.stat().st_size for path in paths if path.is_file()))


def _as_sampled(ws: Workspace, datasets: list[RegisteredDataset]) -> list[RegisteredDataset]:
    """With the rows that the engine draws where an entry has `num_samples`, also beyond all (data/loader.py)."""
    entries = read_registry(ws)
    drawn = [entries.get(item.name, {}).get("num_samples") for item in datasets]
    return [
        replace(item, rows=rows) if isinstance(rows, int) else item for item, rows in zip(datasets, drawn, strict=True)
    ]


def data_keys(data: TrainingData) -> dict[str, Any]:
    """The keys that name the data. Only without held-out sets that were registered, the engine splits some off."""
    return {
        "dataset": ",".join(item.name for item in data.train),
        "eval_dataset": ",".join(item.name for item in data.held_out) or None,
        "val_size": None if data.held_out or any(item.heldout for item in data.train) else 0.05,
        "dataset_dir": "data",
    }


def data_home(ws: Workspace, config: Mapping[str, Any]) -> Workspace:
    """The workspace of `dataset_dir`, which counts from ours, where the engine runs, whatever the current folder is."""
    folder: Path = ws.root / str(config.get("dataset_dir", "data"))
    return Workspace(folder.parent) if folder.name == "data" else Workspace(ws.root, folder)


def _only_dataset(ws: Workspace, method: Method) -> list[str]:
    entries = read_registry(ws)
    wanted = _KINDS[method.data]
    names = [name for name in entries if dataset_kind(ws, name) in wanted and not is_heldout(name, entries)]
    names = [name for name in names if not is_view_name(name, "kto", names)]
    if len(names) == 1:
        return names
    if not names:
        raise UsageError(
            f"no dataset for {method.name} is registered in this workspace",
            "`rlguide download ultrafeedback`, or `rlguide register my_pairs.json`",
        )
    raise UsageError(
        f"several datasets are registered: {', '.join(names)}",
        f"choose: --dataset {shlex.quote(names[0])} (or a,b for two)",
    )
