"""What a sweep was asked for: its folder, and `sweep.json` in it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from rlguide import __version__
from rlguide.errors import DataError, UsageError, did_you_mean
from rlguide.recipes.options import TrainingOptions
from rlguide.sweeps.objective import Objective
from rlguide.sweeps.space import MOST, Axis, Choices, Range, check_axes
from rlguide.workspace import Workspace, read_json, write_json

SWEEPS = "sweeps"  # below saves/
FILE = "sweep.json"
GRID, SEARCH = "grid", "search"
SLURM = "--slurm"
LAUNCH = (SLURM, "--launcher", "--ray-address")  # options of `rlguide train`, each with a value
_NAME = re.compile(r"[^\W.](?:[\w .+=-]{0,78}[\w+=-])?")  # also of Chinese characters; one folder


@dataclass(frozen=True)
class Sweep:
    """A sweep as it was asked for.

    Attributes:
        name: of its folder below saves/sweeps.
        kind: "grid" or "search".
        trials: how many.
        train: what is asked for of each training, but for the swept keys.
        is_pruned: hopeless trials are stopped early.
        launch: options of `rlguide train` that say where trials run, said again when a sweep is resumed.
    """

    name: str
    kind: str
    axes: tuple[Axis, ...]
    trials: int
    seed: int
    train: TrainingOptions
    objective: Objective
    method: str
    is_pruned: bool = True
    launch: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it varies."""
        return tuple(axis.key for axis in self.axes)

    def same_as(self, other: Sweep) -> bool:
        """Whether it asks for the same; the number of trials of a search may grow, and where they run may change."""
        trials = self.trials if self.kind == GRID else other.trials
        return replace(self, trials=trials, launch=other.launch, is_pruned=other.is_pruned) == other


def folder_of(ws: Workspace, name: str) -> Path:
    """Where a sweep of this name lies. Raises UsageError for what is no name."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a sweep", "use letters, digits, - and _, e.g. --name my-sweep"
        )
    return ws.saves / SWEEPS / name


def default_name(method: str, keys: Sequence[str]) -> str:
    """The name of a sweep that was given none, the same whenever it is asked for: method and keys."""
    return "-".join([method, *keys])[:80]


def resume_command(name: str, launch: Sequence[str] = ()) -> str:
    """The command that resumes a sweep. `launch`: where its trials run, which its record does not decide."""
    return shlex.join(["rlguide", "sweep", "--resume", name, *launch])


def write_sweep(folder: Path, sweep: Sweep, trials: Sequence[Mapping[str, Any]] = ()) -> None:
    """Write `sweep.json`: what was asked for, and what the trials have come to so far, for people and programs."""
    axes = [{"kind": type(axis).__name__.lower(), **asdict(axis)} for axis in sweep.axes]
    train = {name: getattr(sweep.train, name) for name in sweep.train.given()}
    train = {name: str(value) if isinstance(value, Path) else value for name, value in train.items()}
    asked = {**asdict(sweep), "axes": axes, "train": train}
    write_json(folder / FILE, {"rlguide": __version__, **asked, "results": list(trials)})


def find_sweeps(ws: Workspace) -> list[str]:
    """The names of the sweeps of a workspace."""
    return sorted(path.parent.name for path in (ws.saves / SWEEPS).glob(f"*/{FILE}"))


def open_sweep(ws: Workspace, name: str) -> Sweep:
    """The sweep that a person names, by its name or its folder.

    Raises:
        UsageError: there is none. DataError: its file is damaged.
    """
    known = find_sweeps(ws)
    short = name.rstrip("/").removeprefix(f"saves/{SWEEPS}/")
    if short not in known:
        fix = f"sweeps here: {', '.join(known[:5])}" if known else "begin one: rlguide sweep --grid pref_beta=0.05,0.1"
        raise UsageError(f"there is no sweep {name}{did_you_mean(short, known)}", fix)
    return read_sweep(folder_of(ws, short))


def read_sweep(folder: Path) -> Sweep:
    """What `write_sweep` wrote. Raises DataError if it is damaged."""
    try:
        return _sweep(folder.name, read_json(folder / FILE))
    except (LookupError, TypeError, ValueError, AttributeError, UsageError):
        raise DataError(
            f"saves/{SWEEPS}/{folder.name}/{FILE} is not the record of a sweep",
            "put it back from a copy; its runs are sound without it: `rlguide runs` lists them",
        ) from None


def _sweep(name: str, found: Any) -> Sweep:
    objective = found["objective"]
    sweep = Sweep(
        name=name,
        kind=found["kind"],
        axes=tuple(_axis(item) for item in found["axes"]),
        trials=found["trials"],
        seed=found["seed"],
        train=_options(found["train"]),
        objective=Objective(_text(objective["by"]), _text(objective["metric"]), objective["is_greater"] is True),
        method=_text(found["method"]),
        is_pruned=found["is_pruned"] is True,
        launch=_launch(found["launch"]),
    )
    if sweep.kind not in (GRID, SEARCH) or type(sweep.trials) is not int or not 0 < sweep.trials <= MOST:
        raise ValueError("no sweep")
    if type(sweep.seed) is not int or not sweep.axes:
        raise ValueError("no sweep")
    check_axes(sweep.kind, sweep.axes)
    if sweep.kind == GRID:
        lists = [axis.values for axis in sweep.axes if isinstance(axis, Choices)]
        if len(lists) < len(sweep.axes) or math.prod(map(len, lists)) != sweep.trials:
            raise ValueError("no grid")
    return sweep


def _options(item: Mapping[str, Any]) -> TrainingOptions:
    """What is asked for of each training; the fields have the types that they have in the record."""
    known = {field.name: field for field in fields(TrainingOptions)}
    found: dict[str, Any] = {}
    for name, value in item.items():
        kind = str(known[name].type)
        if name == "settings":
            found[name] = {_text(key): setting for key, setting in value.items()}
        elif name == "datasets":
            found[name] = _texts(value)
        elif name == "config":
            found[name] = Path(_text(value))
        elif kind.startswith("str"):
            found[name] = _text(value)
        elif type(value) is not (bool if kind == "bool" else int):
            raise ValueError("no option")
        else:
            found[name] = value
    return TrainingOptions(**found)


def _launch(value: Any) -> tuple[str, ...]:
    words = _texts(value)
    if not set(words[::2]) <= set(LAUNCH) or len(words) % 2:
        raise ValueError("no way to launch")
    return words


def _axis(item: Any) -> Axis:
    key = _text(item["key"])
    if item["kind"] == "choices":
        values = tuple(item["values"])
        if not values or not all(value is None or isinstance(value, str | int | float) for value in values):
            raise ValueError("no values")
        return Choices(key, values)
    low, high = item["low"], item["high"]
    if not all(type(end) in (int, float) and abs(end) < 1e300 for end in (low, high)) or not low < high:
        raise ValueError("no range")
    is_log, is_whole = item["is_log"] is True, item["is_whole"] is True
    if (is_log and low <= 0) or (is_whole and (type(low), type(high)) != (int, int)):
        raise ValueError("no range")
    return Range(key, low, high, is_log, is_whole)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in value)
