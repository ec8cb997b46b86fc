"""The config of a run with what each key does, and why it has its value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rlguide.catalog.hyperparameters import hyperparameters
from rlguide.data.inspect.examples import shortened
from rlguide.engine.config_file import format_value
from rlguide.recipes.render import Recipe, Remark, load_recipe, remark_on
from rlguide.runs.record import Run

_LONG = 400  # characters of a value


@dataclass(frozen=True)
class Setting:
    """A key of a config.

    Attributes:
        value: as it is written in the config.
        default: of the method's recipe, where that is another; else "".
        remark: what the catalog and the recipe say of it; None of a key that they do not have.
        why, source: the catalog's reason for its default, where the recipe gives none; where that is from.
    """

    key: str
    value: str
    default: str
    remark: Remark | None
    why: str
    source: str


def settings_of(run: Run) -> list[tuple[str, list[Setting]]]:
    """The sections of the recipe, each with the keys that the config has; what the recipe does not have comes last."""
    config, recipe = run.config, load_recipe(run.method.name if run.method is not None else "dpo")
    sections = [(title, [key for key in keys if key in config]) for title, keys in recipe.sections.items()]
    others = [key for key in config if key not in recipe.defaults]
    return [
        (title, [_setting(key, config[key], recipe) for key in keys])
        for title, keys in (*sections, ("set by hand", others))
        if keys
    ]


def _setting(key: str, value: Any, recipe: Recipe) -> Setting:
    default, entry, remark = recipe.defaults.get(key), hyperparameters().get(key), remark_on(key, recipe, value)
    is_other = default is not None and default != value
    is_catalogs = entry is not None and remark is not None and remark.what == entry.what  # not this method's own
    why = entry.why if entry is not None and remark is not None and is_catalogs and not remark.why else None
    source = entry.source if entry is not None and is_catalogs else None
    return Setting(
        shortened(key, _LONG),
        shortened(format_value(value), _LONG),
        format_value(default) if is_other else "",
        remark,
        why or "",
        source or "",
    )
