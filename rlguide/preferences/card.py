"""What the card of a dataset (the YAML at the head of its README.md) says about its files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

Splits = dict[str, dict[str, list[str]]]  # subset -> split -> paths


def splits_of_card(
    card: str, paths: Sequence[str], of_names: Callable[[Sequence[str]], Splits]
) -> tuple[Splits, str | None]:
    """The subsets, splits and files that the card's `configs:` names ({} if none), and the subset it calls default.

    Args:
        paths: the data files that are there.
        of_names: tells splits from names, for a config that only names a folder (`data_dir`).
    """
    there: Splits = {}
    default = None
    configs = _header(card).get("configs")
    for config in configs if isinstance(configs, list) else []:
        if not isinstance(config, dict):
            continue
        folder = str(config.get("data_dir") or "").strip("./")
        inside = [path for path in paths if path.startswith(f"{folder}/")] if folder else list(paths)
        splits: dict[str, list[str]] = {}
        if config.get("data_files") is not None:
            for split, patterns in _data_files(config["data_files"]):
                for pattern in patterns:
                    full = f"{folder}/{pattern}" if folder else pattern
                    splits.setdefault(split, []).extend(matching(full.removeprefix("./"), inside))
        elif folder:
            for found in of_names([path.removeprefix(f"{folder}/") for path in inside]).values():
                for split, files in found.items():
                    splits.setdefault(split, []).extend(f"{folder}/{file}" for file in files)
        splits = {split: sorted(set(files)) for split, files in splits.items() if files}
        if splits:
            name = str(config.get("config_name") or "default")
            there[name] = splits
            default = name if config.get("default") is True else default
    return there, default


def _header(card: str) -> dict[str, Any]:
    """The YAML between the first two lines of dashes; {} if it is missing or broken."""
    match = re.match(r"﻿?---\s*\n(.*?)\n---\s*(\n|$)", card, re.DOTALL)
    if match is None:
        return {}
    import yaml

    try:
        loaded = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date that is none
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _data_files(value: Any) -> list[tuple[str, list[str]]]:
    """`data_files:` in any of its forms: a pattern, a list of them, split -> pattern, or a list of split and path."""
    if isinstance(value, str):
        return [("train", [value])]
    if isinstance(value, dict):
        return [(str(split), _patterns(path)) for split, path in value.items()]
    result: list[tuple[str, list[str]]] = []
    for item in value if isinstance(value, list) else []:
        if isinstance(item, str):
            result.append(("train", [item]))
        elif isinstance(item, dict):
            result.append((str(item.get("split") or "train"), _patterns(item.get("path"))))
    return result


def _patterns(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str)]


def matching(pattern: str, paths: Sequence[str]) -> list[str]:
    """The paths that a pattern means: `*` and `?` within a folder, `**` across folders, `[...]` a set of letters."""
    expression = ""
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]*\]|.", pattern):
        if token == "**/":
            expression += "(?:.*/)?"
        elif token == "**":
            expression += ".*"
        elif token == "*":
            expression += "[^/]*"
        elif token == "?":
            expression += "[^/]"
        elif token.startswith("[") and len(token) > 2:
            expression += "[" + token[1:-1].replace("\\", r"\\").replace("!", "^", token[1] == "!") + "]"
        else:
            expression += re.escape(token)
    try:
        compiled = re.compile(expression)
    except re.error:
        return [path for path in paths if path == pattern]
    return [path for path in paths if compiled.fullmatch(path)]
