"""What the guide says of a method or a key, gathered from the catalog and the recipes."""

from __future__ import annotations

from collections.abc import Mapping

from rlguide.catalog.engine_keys import engine_keys
from rlguide.catalog.hyperparameters import hyperparameters
from rlguide.catalog.methods import methods
from rlguide.engine.config_file import format_value
from rlguide.errors import UsageError, did_you_mean
from rlguide.recipes.lean import describe, left_out
from rlguide.recipes.render import load_recipe


def explain_word(word: str) -> list[str]:
    """Lines about a method or a key of a config. Raises UsageError if it is neither."""
    if word in methods():
        return _method(word)
    if word in hyperparameters():
        return _key(word)
    near = did_you_mean(word, [*methods(), *hyperparameters()])
    raise UsageError(f"{word} is neither a method nor a key{near}", "`rlguide methods` lists methods")


def _method(name: str) -> list[str]:
    method, recipe = methods()[name], load_recipe(name)
    facts = {
        "needs": method.needs,
        "cost": method.cost,
        "good for": method.strengths,
        "use it": method.recommendation,
        "faster": describe(left_out(method, recipe.defaults)),
        "normal": method.normal,
        "losses": ", ".join(method.losses) if len(method.losses) > 1 else "",
        "source": method.source,
    }
    lines = [f"{name}: {method.title}", *_lines(facts)]
    parent = load_recipe("dpo").defaults
    shown = [key for key in recipe.defaults if name == "dpo" or recipe.defaults[key] != parent.get(key)]
    lines.append("  defaults" if name == "dpo" else "  defaults that differ from dpo")
    for key in shown:
        value = recipe.defaults[key]
        if value is not None or key in recipe.why:
            text = format_value(value) if value is not None else "set from the data"
            lines.append(f"    {key}: {text}" + (f"   ({recipe.why[key]})" if key in recipe.why else ""))
    return lines


def _key(name: str) -> list[str]:
    entry = hyperparameters()[name]
    lines = [f"{name}: {entry.what}"]
    defaults: dict[str, list[str]] = {}
    for method in methods():
        value = load_recipe(method).defaults.get(name)
        if value is not None:
            defaults.setdefault(format_value(value), []).append(method)
    if defaults:
        lines.append("  default   " + "; ".join(f"{value} ({', '.join(names)})" for value, names in defaults.items()))
    for method in methods():
        recipe = load_recipe(method)
        if name in recipe.what:
            lines.append(f"  {method:9} {recipe.what[name]}" + (f" {recipe.why[name]}" if name in recipe.why else ""))
        if name in recipe.ranges:
            lines.append(f"  {method:9} range {recipe.ranges[name]}")
    for rule in engine_keys().rules:
        if name in rule.keys and not rule.when:
            lines.append(f"  {', '.join(rule.methods) or 'any method'}: {rule.why} ({rule.source})")
    label = "choices" if entry.choices else "range"
    facts = {label: entry.range, "change it": entry.when, "why": entry.why, "source": entry.source}
    return lines + _lines(facts)


def _lines(facts: Mapping[str, str | None]) -> list[str]:
    return [f"  {label:9} {text}" for label, text in facts.items() if text]
