"""What a sweep varies: `--grid KEY=VALUE,...` and `--search KEY=LOW:HIGH[:log]`, read strictly."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any

from rlguide.catalog.engine_keys import engine_keys
from rlguide.engine.config_file import format_value, parse_settings
from rlguide.errors import UsageError, did_you_mean
from rlguide.runs.authority import TRUST

if TYPE_CHECKING:
    from rlguide.engine.schema import Schema

MOST = 1000  # trials of a sweep; each is a training
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# What a Chinese keyboard writes in the place of the marks of this notation.
_WIDE = str.maketrans({"，": ",", "、": ",", "：": ":", "＝": "="})
_LOG = "log"
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
    def text(self) -> str:
        """As it is typed."""
        return f"{self.key}={','.join(_typed(value) for value in self.values)}"

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are checked before anything starts: all of them."""
        return self.values

    def holds(self, value: Any) -> bool:
        """Whether it is one of the values."""
        return any(_is_same(value, other) for other in self.values)

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
    def text(self) -> str:
        """As it is typed."""
        return f"{self.key}={self.low!r}:{self.high!r}{':log' if self.is_log else ''}"

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


def parse_axes(kind: str, texts: Sequence[str]) -> tuple[Axis, ...]:
    """The keys that are swept, in the order in which they were given.

    Args:
        kind: "grid" (values only) or "search" (values or ranges).
        texts: each KEY=VALUE,VALUE or KEY=LOW:HIGH or KEY=LOW:HIGH:log.

    Raises:
        UsageError: one that is malformed, a key twice, or a grid of too many trials.
    """
    axes = tuple(_axis(kind, text) for text in texts)
    check_axes(kind, axes)
    return axes


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


def _axis(kind: str, text: str) -> Axis:
    key, equals, said = text.partition("=")
    key = key.strip()
    if any(ord(mark) in _WIDE for mark in _outside_quotes(text)):
        raise UsageError(
            f"--{kind} {text}: full-width marks do not separate values",
            f"write --{kind} {shlex.quote(text.translate(_WIDE))}",
        )
    if not equals or not _KEY.fullmatch(key) or not said.strip():
        example = "pref_beta=0.05,0.1" if kind == "grid" else "pref_beta=0.01:0.5:log"
        raise UsageError(f"--{kind} {text}: not KEY=VALUES", f"write it as --{kind} {example}")
    if ":" in _outside_quotes(said):
        if kind == "grid":
            raise UsageError(
                f"--grid {text}: a grid has single values, and no ranges",
                f"name them: {key}=A,B,C; or use --search with --trials",
            )
        return _range(text, key, said.strip())
    return _choices(kind, text, key, said)


def _choices(kind: str, text: str, key: str, said: str) -> Choices:
    parts = _parts(said)
    if not all(part.strip() for part in parts):
        raise UsageError(f"--{kind} {text}: a value is missing between two commas", f'write --{kind} {key}=A,B; or ""')
    values: list[Any] = []
    for part in parts:
        value = parse_settings([f"{key}={part}"])[key]
        if not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
            raise UsageError(f"--{kind} {text}: {part.strip()} is no single value", "give text, numbers, true or false")
        if any(_is_same(value, other) for other in values):
            raise UsageError(f"--{kind} {text}: {part.strip()} is given twice", "give each value once")
        values.append(value)
    return Choices(key, tuple(values))


def _range(text: str, key: str, said: str) -> Range:
    low, high, *more = said.split(":")
    ends = [_number(part) for part in (low, high)]
    if None in ends or more not in ([], [_LOG]):
        raise UsageError(
            f"--search {text}: not a range", f"write {key}=LOW:HIGH or {key}=LOW:HIGH:log; text with a colon in quotes"
        )
    first, last = (end for end in ends if end is not None)
    if not first < last:
        raise UsageError(f"--search {text}: the lower end is not below the upper one", f"write {key}=LOW:HIGH")
    if more and first <= 0:
        raise UsageError(f"--search {text}: a logarithm needs a lower end above 0", "raise it, or leave :log out")
    is_whole = isinstance(first, int) and isinstance(last, int)
    return (
        Range(key, first, last, bool(more), is_whole) if is_whole else Range(key, float(first), float(last), bool(more))
    )


def _number(text: str) -> int | float | None:
    """A number as it is written; None for anything else, and for what is not finite."""
    if _WHOLE.fullmatch(text):
        return int(text)
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None


def _is_same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _parts(said: str) -> list[str]:
    """The values between commas; commas in quotes are part of a value."""
    marks = _outside_quotes(said)
    cuts = [-1, *(place for place, mark in enumerate(marks) if mark == ","), len(said)]
    return [said[start + 1 : end] for start, end in pairwise(cuts)]


def _outside_quotes(text: str) -> str:
    """The text with what stands in quotes blanked, so that places stay the same."""
    found, quote = "", ""
    for mark in text:
        if quote:
            found, quote = found + " ", "" if mark == quote else quote
        elif mark in "\"'":
            found, quote = found + " ", mark
        else:
            found += mark
    return found


def _typed(value: Any) -> str:
    """A value as `_choices` reads it back."""
    text = format_value(value)
    return (
        f'"{value}"'
        if isinstance(value, str) and _outside_quotes(text) == text and set(text) & set(",:，、：＝")
        else text
    )
