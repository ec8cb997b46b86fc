"""Render a recipe (template) into a commented YAML config that its user owns."""

from __future__ import annotations

import os
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rlguide import __version__
from rlguide.catalog.hyperparameters import hyperparameters
from rlguide.catalog.trackers import keeps_null
from rlguide.catalog.yaml_file import read_yaml
from rlguide.console import say
from rlguide.engine.config_file import format_config, format_value, load_config
from rlguide.errors import DataError, RlguideError, UsageError
from rlguide.workspace import read_text

_MARK = "# rlguide: rendered "


@dataclass(frozen=True)
class Recipe:
    """A template: sections of keys with their default values; None means filled in later or left out.

    `why` holds reasons for values that differ from those of other methods, by key; `what` says what keys do that do
    something else in this method; `ranges` are those that make sense in this method, where others do in the others.
    """

    name: str
    title: str
    sections: dict[str, dict[str, Any]]
    why: dict[str, str]
    what: dict[str, str] = field(default_factory=dict)
    ranges: dict[str, str] = field(default_factory=dict)

    def range_of(self, key: str) -> str | None:
        """The range or the choices that make sense for a key of the catalog; None if it has none."""
        return self.ranges.get(key) or hyperparameters()[key].range

    @property
    def defaults(self) -> dict[str, Any]:
        """Every key with its default, in order."""
        return {key: value for section in self.sections.values() for key, value in section.items()}


@cache
def load_recipe(name: str) -> Recipe:
    """The bundled recipe of this name ("dpo", "kto", ..., "eval").

    A recipe that `extends` another takes over its sections: `titles` gives them other names, `drop` leaves keys out,
    `change` gives other defaults, `add` puts keys behind the others of the section "method".
    """
    value = read_yaml(Path(__file__).parent / "templates" / f"{name}.yaml")
    if "extends" not in value:
        return Recipe(name, value["title"], value["sections"], value.get("why", {}), value.get("what", {}))
    parent = load_recipe(value["extends"])
    change, dropped, titles = value.get("change", {}), value.get("drop", []), value.get("titles", {})
    sections = {
        titles.get(title, title): {key: change.get(key, default) for key, default in keys.items() if key not in dropped}
        for title, keys in parent.sections.items()
    }
    sections["method"].update(value.get("add", {}))
    texts = [value.get(key, {}) for key in ("why", "what", "ranges")]
    return Recipe(name, value["title"], sections, *texts)


def fill(recipe: Recipe, values: dict[str, Any]) -> dict[str, Any]:
    """The config: the recipe's keys in order, then keys of `values` it does not have.

    None leaves a key out, unless that is another value than the engine's default (`keeps_null`).
    """
    merged = {**recipe.defaults, **values}
    return {key: value for key, value in merged.items() if value is not None or keeps_null(key)}


def render(recipe: Recipe, config: dict[str, Any], introduction: list[str]) -> str:
    """`config` as commented YAML: the recipe's sections, then a section for what it does not have.

    The first line carries a checksum of the rest, by which a later render sees whether a person edited the file.
    """
    sections = [(title, [key for key in keys if key in config]) for title, keys in recipe.sections.items()]
    others = [key for key in config if key not in recipe.defaults]
    formatted = format_config(config)
    lines = [f"# {part}".rstrip() for line in introduction for part in _wrapped(line)]
    for title, keys in [*sections, ("set by hand", others)]:
        if keys:
            lines += ["", f"### {title}"]
            for key in keys:
                lines += [*_comment(key, recipe, config[key]), formatted[key]]
    body = "\n".join(lines) + "\n"
    return f"{_MARK}by {__version__}, checksum {_checksum(body)}\n{body}"


def _wrapped(line: str) -> list[str]:
    """A line of prose in lines of at most 106 characters; a command, which is indented, stays whole."""
    return [line] if line.startswith(" ") else textwrap.wrap(line, 106, break_on_hyphens=False)


@dataclass(frozen=True)
class Remark:
    """What is said of a key in a config.

    Attributes:
        what: what it does; why: this method's reason for its value, "" without one.
        choices, range: what makes sense for it, "" where that would contradict a value that rlguide itself computed.
    """

    what: str
    why: str = ""
    choices: str = ""
    range: str = ""

    def __str__(self) -> str:
        labelled = (("Choices: ", self.choices), ("Sensible range: ", self.range))
        return " ".join(filter(None, (self.what, self.why, *(f"{label}{text}." for label, text in labelled if text))))


def remark_on(key: str, recipe: Recipe, value: Any) -> Remark | None:
    """What the catalog and the recipe say of a key with this value; None of a key that the catalog does not have.

    This method's reason replaces the range of the catalog.
    """
    entry = hyperparameters().get(key)
    if entry is None:
        return None
    what = recipe.what.get(key, entry.what)
    is_computed = recipe.defaults.get(key, "") is None
    if key in recipe.why:
        return Remark(what, recipe.why[key], range=recipe.ranges.get(key, ""))
    if key not in recipe.what and entry.choices:
        return Remark(what, choices=str(entry.range) if value in entry.choices else "")
    if key not in recipe.what and entry.range and (entry.holds(value) or not is_computed):
        return Remark(what, range=entry.range)
    return Remark(what)


def _comment(key: str, recipe: Recipe, value: Any) -> list[str]:
    """The comment above a key."""
    remark = remark_on(key, recipe, value)
    return [f"# {line}" for line in textwrap.wrap(str(remark), 106)] if remark else []


def _checksum(body: str) -> str:
    import hashlib

    return hashlib.sha256(body.encode()).hexdigest()[:12]


def was_edited(path: Path) -> bool:
    """Whether `path` exists and is not exactly what rlguide rendered: then a person has made it theirs."""
    try:
        head, _, body = read_text(path).partition("\n")
    except DataError:
        return os.path.lexists(path)
    return not (head.startswith(_MARK) and head.endswith(_checksum(body)))


def changed_values(path: Path, config: Mapping[str, Any]) -> list[str]:
    """What a config at `path` says otherwise than `config`, as "key: before -> now"; nothing if there is none."""
    try:
        before = load_config(path)
    except RlguideError:
        return []
    keys = [key for key in {**before, **config} if before.get(key) != config.get(key)]
    return [f"{key}: {_said(before, key)} -> {_said(config, key)}" for key in keys]


def _said(config: Mapping[str, Any], key: str) -> str:
    return format_value(config[key]) if key in config else "(none)"


def check_writable(path: Path, force: bool = False) -> None:
    """Check that a config may be written here.

    Raises:
        UsageError: the file was edited by hand and `force` is not set, or it is no file at all.
    """
    from rlguide.workspace import check_replaceable

    check_replaceable(path)
    if not force and was_edited(path):
        raise UsageError(
            f"{path} was edited by hand; it would be overwritten",
            f"train with it: `rlguide train --config {shlex.quote(str(path))}`;"
            f" or --force (the old one is kept as {_free_backup(path).name})",
        )


def write_config(path: Path, text: str, force: bool = False) -> Path | None:
    """Write a rendered config; with `force` an edited file is kept as `<name>.bak` (.bak2, ...) first.

    Returns:
        The backup, if one was made.

    Raises:
        UsageError: as `check_writable`.
    """
    from rlguide.workspace import atomic_write

    check_writable(path, force)
    backup = _free_backup(path) if was_edited(path) else None
    if backup:
        path.replace(backup)
    with atomic_write(path) as file:
        file.write(text)
    return backup


def write_unless_edited(path: Path, shown: str, text: str, config: Mapping[str, Any] | None = None) -> None:
    """Write a rendered config; say so where a person has made the file theirs, which then stays as it is.

    Args:
        shown: how the file is typed from the workspace.
        config: what it holds, to say what it said otherwise before; None to say nothing of that.
    """
    if was_edited(path):
        say(f"{shown} was edited by hand and stays as it is; the config of this run is in the run's folder")
        return
    changed = [] if config is None else changed_values(path, config)
    write_config(path, text)
    if changed:
        say(f"{shown} was rendered before; now {'; '.join(changed)}")


def _free_backup(path: Path) -> Path:
    backup, number = path.with_name(path.name + ".bak"), 1
    while backup.exists():
        number += 1
        backup = path.with_name(f"{path.name}.bak{number}")
    return backup
