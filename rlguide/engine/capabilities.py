"""Which engine can train which method (`limitations.yaml`): what is refused, and what would silently be another."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packaging.version import Version

Versions = Mapping[str, str]
Methods = Mapping[str, tuple[str, ...]]  # a method: the losses to choose from, the first is LLaMA-Factory's default

# Templates of the main engine that an older LLaMA-Factory lacks, and the one whose prompts are the same there. Good
# for PPO only: it reads prompts, never labels. With qwen3 a *label* would begin with an empty <think></think>.
_PPO_STAND_INS = {"qwen3_nothink": "qwen3"}


@dataclass(frozen=True)
class Limitation:
    """Why an engine cannot train a method.

    Attributes:
        what: one sentence for a person.
        fix: what to type or change.
        source: where the fact is from.
        is_silent: the engine would run, but train something else.
        engine: the engine that rlguide can install and that does it; "" if there is none.
    """

    what: str
    fix: str
    source: str
    is_silent: bool = False
    engine: str = ""


def can(
    engine_versions: Versions, method: str, loss: str | None = None, python: Path | None = None
) -> Limitation | None:
    """None if an engine with these versions trains `method` (with `loss`) as asked, else why not.

    Args:
        engine_versions: version by distribution name, as in `Engine.versions`.
        method: its name in `catalog/methods.yaml`; one without rows here is subject to those of all methods only.
        loss: `pref_loss` of dpo; None for its default, sigmoid.
        python: the engine's interpreter, to name in the fix.

    The facts were measured or stand in the sources of LLaMA-Factory; each names which.
    """
    for row in _rows():
        of_method = row["methods"] == "all" or method in row["methods"]
        if of_method and loss in row.get("losses", [loss]) and applies(row["where"], engine_versions):
            return _limitation(row, engine_versions, loss or "", python)
    return None


def limitation_of(name: str, engine_versions: Versions, pins: Versions) -> Limitation | None:
    """The first limitation that an engine has because its version of the distribution `name` is not the pinned one."""
    for row in _rows():
        where = row["where"]
        if name in where and applies(where, engine_versions) and not applies({name: where[name]}, pins):
            return _limitation(row, engine_versions, " and ".join(row.get("losses", [])), None)
    return None


def _limitation(row: dict[str, Any], versions: Versions, loss: str, python: Path | None) -> Limitation:
    names = {name: versions.get(name, "(missing)") for name in ("llamafactory", "trl", "transformers")}
    pip = f"{shlex.quote(str(python or 'python'))} -m pip"
    what, fix = row["what"].format(loss=loss, **names), row["fix"].format(pip=pip)
    return Limitation(what, fix, row["source"], row.get("silent", False), row.get("engine", ""))


@cache
def _rows() -> list[dict[str, Any]]:
    import yaml

    text = files("rlguide.engine").joinpath("limitations.yaml").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = yaml.safe_load(text)
    return found


def applies(where: Mapping[str, str], engine_versions: Versions) -> bool:
    """Whether the engine's versions satisfy every specifier of `where`, as in `limitations.yaml`."""
    from packaging.specifiers import SpecifierSet

    return all(SpecifierSet(wanted).contains(release(engine_versions.get(name))) for name, wanted in where.items())


@cache
def release(version: str | None) -> Version:
    """The release that a version is of, or will be: 0.9.6 for "0.9.6.dev0", 2.11.0 for "2.11.0+cpu".

    0 where it is missing or unreadable; of what no packaging tool would write, the numbers at its start.
    """
    import re

    from packaging.version import InvalidVersion, Version

    try:
        return Version(Version(version or "0").base_version)
    except InvalidVersion:
        start = re.match(r"\d+(\.\d+)*", version or "")
        return Version(start[0] if start else "0")


@dataclass(frozen=True)
class Ability:
    """One line of an engine's abilities: a method, and a loss where it has a choice."""

    method: str
    loss: str | None
    limitation: Limitation | None


def abilities(engine_versions: Versions, methods: Methods, python: Path | None = None) -> list[Ability]:
    """Each of these methods and losses, with what an engine with these versions (at `python`) lacks for it."""
    return [
        Ability(method, loss, can(engine_versions, method, loss, python))
        for method, losses in methods.items()
        for loss in (losses or (None,))
    ]


def summary(engine_versions: Versions, methods: Methods) -> str:
    """Which of these methods an engine with these versions trains: "dpo (sigmoid, hinge), kto, rm"; or "nothing"."""
    good: dict[str, list[str]] = {}
    for item in abilities(engine_versions, methods):
        if item.limitation is None:
            good.setdefault(item.method, []).extend([item.loss] if item.loss else [])
    return ", ".join(f"{name} ({', '.join(losses)})" if losses else name for name, losses in good.items()) or "nothing"


def ppo_template(engine_versions: Versions, template: str) -> str:
    """The template to name for PPO in an engine with these versions so that the prompts are those of `template`.

    LLaMA-Factory before 0.9.4 has no qwen3_nothink; the prompts of its qwen3 are the same with `enable_thinking` left
    at true (llamafactory/data/template.py of 0.9.3, ReasoningTemplate: the empty thought goes into the label then).
    """
    is_old = applies({"llamafactory": "<0.9.4"}, engine_versions)
    return _PPO_STAND_INS.get(template, template) if is_old else template
