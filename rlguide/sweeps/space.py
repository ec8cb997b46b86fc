"""What a sweep varies: its keys, the values of each, and the points that they make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from rlguide.catalog.engine_keys import engine_keys
from rlguide.engine.config_file import format_value
from rlguide.errors import UsageError, did_you_mean
from rlguide.runs.authority import TRUST

if TYPE_CHECKING:
    from rlguide.engine.schema import Schema

MOST = 1000  # trials of a sweep; each is a training
# What sweeps decide themselves, or what makes the figures of two trials figures of different things.
_NOT_SWEPT = {
    "output_dir": "each trial has a folder of its own",
    "overwrite_output_dir": "each trial has a folder of its own",
    "resume_from_checkpoint": "a trial is resumed by the sweep",
    "stage": "trials of different methods have no figure in common; sweep each method by itself (--method)",
    "metric_for_best_model": "the best trial is chosen by one figure (--best-by)",
    "greater_is_better": "the best trial is chosen by one figure (--best-by)",
    "eval_dataset": "trials that are measured on different pairs cannot be compared",
    "val_size": "trials that are measured on different pairs cannot be compared",
    "max_samples": "it also limits the held-out pairs, and trials measured on different pairs cannot be compared",
}


@dataclass(frozen=True)
class Choices:
    """A key that takes one of some values: text, numbers, booleans or null."""

    key: str
    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are checked before anything starts: all of them."""
        return self.values

    def holds(self, value: Any) -> bool:
        """Whether it is one of the values."""
        return any(is_same(value, other) for other in self.values)

    @property
    def middle(self) -> Any:
        """The value of a trial in the middle of the space."""
        return self.values[len(self.values) // 2]


@dataclass(frozen=True)
class Range:
    """A key that takes a number from `low` to `high`, both included.

    Attributes:
        is_log: its logarithm is drawn evenly, so that each order of magnitude is tried as often.
        is_whole: only whole numbers.
    """

    key: str
    low: float
    high: float
    is_log: bool = False
    is_whole: bool = False

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are checked before anything starts."""
        return (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether it lies in the range."""
        return bool(self.low <= value <= self.high) and (not self.is_whole or isinstance(value, int))

    @property
    def middle(self) -> Any:
        """The value of a trial in the middle of the space: of a logarithmic range the geometric mean."""
        centre = math.sqrt(self.low * self.high) if self.is_log else self.low + (self.high - self.low) / 2
        return round(centre) if self.is_whole else centre


Axis = Choices | Range


def check_axes(kind: str, axes: Sequence[Axis]) -> None:
    """Refuse keys that no sweep varies, whoever says so: a command line, or the record of a sweep.

    Raises:
        UsageError: such a key, a key twice, or a grid of too many trials.
    """
    keys = [axis.key for axis in axes]
    for key in keys:
        if why := _why_not_swept(key):
            raise UsageError(
                f"--{kind}: {key} cannot be swept: {why}", f"leave {key} out; --set gives it to all trials"
            )
        if keys.count(key) > 1:
            raise UsageError(f"--{kind}: {key} is given twice", f"write all its values behind one {key}=")
    if kind == "grid" and (count := math.prod(len(axis.ends) for axis in axes)) > MOST:
        raise UsageError(f"--grid: {count:,} trials", f"try fewer values, or --search with --trials (at most {MOST})")


def _why_not_swept(key: str) -> str:
    if key == TRUST or engine_keys().guarded.holds(key):
        return "it says where to write, what to send away, or whose code to run, which only you can"
    return _NOT_SWEPT.get(key, "")


def grid_points(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Every combination of the values, the last key varying fastest."""
    return [dict(zip([axis.key for axis in axes], values, strict=True)) for values in product(*(a.ends for a in axes))]


def corners(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Settings that hold every value, and both ends of every range, once at least: what is checked of a space.

    It is as many as the longest key has values, not all combinations.
    """
    count = max(len(axis.ends) for axis in axes)
    return [{axis.key: axis.ends[place % len(axis.ends)] for axis in axes} for place in range(count)]


def middle(axes: Sequence[Axis]) -> dict[str, Any]:
    """The settings of a trial in the middle of the space."""
    return {axis.key: axis.middle for axis in axes}


def for_engine(axes: Sequence[Axis], schema: Schema, kind: str) -> tuple[Axis, ...]:
    """The axes with the values that the engine takes for their keys: whole numbers where only these are meant.

    Raises:
        UsageError: a key that the engine has not, that a sweep cannot vary, or a range of what is no number.
    """
    found: list[Axis] = []
    for axis in axes:
        field = schema.fields.get(axis.key)
        if field is None:
            near = did_you_mean(axis.key, list(schema.fields))
            raise UsageError(
                f"--{kind}: LLaMA-Factory has no key {axis.key}{near}", "`rlguide explain` lists the keys that matter"
            )
        if isinstance(axis, Range):
            axis = _of_kind(axis, field.kinds)
        else:
            problem = next((said for value in axis.values if (said := field.problem(value))), None)
            if problem is not None:
                raise UsageError(f"--{kind}: {problem}", f"give {axis.key} other values")
        found.append(axis)
    return tuple(found)


def settings_of(values: Mapping[str, Any]) -> list[str]:
    """The settings as `--set` takes them."""
    return [f"{key}={format_value(value)}" for key, value in values.items()]


def words_of(values: Mapping[str, Any]) -> str:
    """The settings for a person: "pref_beta 0.1, learning_rate 1e-6"."""
    return ", ".join(f"{key} {short_value(value)}" for key, value in values.items())


def short_value(value: Any) -> str:
    """A value in a table: what was drawn from a range with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else format_value(value)


def _of_kind(axis: Range, kinds: Sequence[str]) -> Range:
    if kinds and not {"int", "float"} & set(kinds):
        raise UsageError(
            f"--search: {axis.key} is no number, so it has no range", f"name its values: {axis.key}=VALUE,VALUE"
        )
    if not kinds or {"int", "float"} <= set(kinds):
        return axis
    if "float" in kinds:
        return Range(axis.key, float(axis.low), float(axis.high), axis.is_log)
    if not axis.is_whole:
        raise UsageError(
            f"--search: {axis.key} is a whole number", f"give whole ends, e.g. {axis.key}=8:64, or values: 8,16,32"
        )
    return axis


def is_same(value: Any, other: Any) -> bool:
    """Whether two values are one; 1 and true are not."""
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)
