"""What the card of a dataset (the YAML at the head of its README.md) says about its files."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rlguide.console import escaped
from rlguide.errors import DataError

MAGIC = re.compile(r"[*?[]")
MOST_PATTERNS = 10_000  # of one card; the largest ones known name some hundreds
Splits = dict[str, dict[str, list[str]]]  # subset -> split -> paths


def splits_of_card(
    card: str, paths: Sequence[str], of_names: Callable[[Sequence[str]], Splits]
) -> tuple[Splits, str | None]:
    """The subsets, splits and files that the card's `configs:` names ({} if none), and the subset it calls default.

    `paths` are the data files that are there; `of_names` tells splits from names, for a config that only names a
    folder (`data_dir`). Raises DataError for more patterns than anybody writes; YAML can say that in few lines.
    """
    there: Splits = {}
    default = None
    configs = _header(card).get("configs")
    patterns_left = MOST_PATTERNS
    for config in configs if isinstance(configs, list) else []:
        patterns_left = _count_down(patterns_left)
        if not isinstance(config, dict):
            continue
        folder = str(config.get("data_dir") or "").strip("./")
        inside = [path for path in paths if path.startswith(f"{folder}/")] if folder else list(paths)
        splits: dict[str, list[str]] = {}
        if config.get("data_files") is not None:
            for split, pattern in _data_files(config["data_files"]):
                patterns_left = _count_down(patterns_left)
                full = f"{folder}/{pattern}" if folder else pattern
                splits.setdefault(split, []).extend(matching(full.removeprefix("./"), inside))
        elif folder:
            for found in of_names([path.removeprefix(f"{folder}/") for path in inside]).values():
                for split, files in found.items():
                    splits.setdefault(split, []).extend(f"{folder}/{file}" for file in files)
        splits = {split: sorted(set(files)) for split, files in splits.items() if files}
        if splits:
            name = escaped(str(config.get("config_name") or "default"))
            there[name] = splits
            default = name if config.get("default") is True else default
    return there, default


def _count_down(left: int) -> int:
    if left <= 0:
        raise DataError(f"the card names more than {MOST_PATTERNS:,} patterns of files", "name the files with --file")
    return left - 1


def _header(card: str) -> dict[str, Any]:
    """The YAML between the first two lines of dashes; {} if it is missing or broken."""
    match = re.match(r"﻿?---\s*\n(.*?)\n---\s*(\n|$)", card, re.DOTALL)
    if match is None:
        return {}
    import yaml

    try:
        loaded = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError):  # `!!bool x`, `!!timestamp x`
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _data_files(value: Any) -> Iterator[tuple[str, str]]:
    """`data_files:` in any of its forms: a pattern, a list of them, split -> pattern, or a list of split and path."""
    if isinstance(value, dict):
        items: list[tuple[Any, Any]] = list(value.items())
    else:
        listed = value if isinstance(value, list) else [value]
        items = [(item.get("split"), item.get("path")) if isinstance(item, dict) else (None, item) for item in listed]
    for split, patterns in items:
        for pattern in patterns if isinstance(patterns, list) else [patterns]:
            if isinstance(pattern, str):
                yield escaped(str(split or "train")), pattern


def matching(pattern: str, paths: Sequence[str]) -> list[str]:
    """The paths that a pattern means: `*` and `?` within a folder, `**` for any folders, `[...]` a set of letters.

    The time grows with the length of pattern and path and no faster: whoever publishes a card chooses both.
    """
    names = (f"{pattern}/*" if f"/{pattern}".endswith("/**") else pattern).split("/")  # a folder is not in itself
    parts = list(map(_part, names))
    head = MAGIC.split(pattern, maxsplit=1)[0]
    return [path for path in paths if path.startswith(head) and (path == pattern or _fits(parts, path.split("/")))]


def _part(part: str) -> Callable[[str], object] | None:
    """What one name in a path must fulfil; None for `**`."""
    if part == "**":
        return None
    # `translate` gives an expression that never looks back further than one star.
    return re.compile(fnmatch.translate(part)).match if MAGIC.search(part) else part.__eq__


def _fits(parts: list[Callable[[str], object] | None], names: list[str]) -> bool:
    """Whether the names of a path fulfil the parts of a pattern: all ways of reading it are followed side by side."""
    reached = {0}  # how many of the names the parts so far may stand for
    for fits in parts:
        if fits is not None:
            reached = {at + 1 for at in reached if at < len(names) and fits(names[at])}
        elif reached:
            reached = set(range(min(reached), len(names) + 1))
    return len(names) in reached
