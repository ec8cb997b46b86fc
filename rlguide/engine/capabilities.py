"""Which engine can train which method: what is refused, and worse, what silently trains something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rlguide.engine.pins import numbers

Methods = Mapping[str, tuple[str, ...]]  # a method: the losses to choose from, the first is LLaMA-Factory's default
Versions = Mapping[str, str]


@dataclass(frozen=True)
class Limitation:
    """Why an engine cannot train a method.

    Attributes:
        what: one sentence for a person.
        todo: what to type or change.
        source: where the fact is from.
        is_silent: the engine would run, but train something else.
        engine: the engine that rlguide can install and that does it; "" if there is none.
    """

    what: str
    fix: str
    source: str
    is_silent: bool = False
    engine: str = ""


@dataclass(frozen=True)
class _Row:
    """One fact: engines whose versions satisfy `applies` lack these methods and losses; () stands for all of them."""

    methods: tuple[str, ...]
    losses: tuple[str, ...]
    applies: Callable[[Versions], bool]
    what: str  # may hold {loss} and {<distribution>} for its version
    fix: str
    source: str
    is_silent: bool = False
    engine: str = ""


def _version(versions: Versions, name: str) -> tuple[int, ...]:
    return numbers(versions.get(name, ""))


def _is_old(versions: Versions) -> bool:
    """LLaMA-Factory of the time when it used trl's first PPOTrainer."""
    return _version(versions, "llamafactory") < (0, 9, 4)


_TABLE = (
    _Row(
        ("ppo",),
        (),
        lambda versions: not _is_old(versions),
        "LLaMA-Factory {llamafactory} refuses PPO: the PPOTrainer it used is gone from trl",
        "rlguide engine install ppo",
        "LLaMA-Factory issues #10757 and #6373, pull request #9617; tried with 0.9.4 and 0.9.5",
        engine="ppo",
    ),
    _Row(
        (),
        (),
        lambda versions: _is_old(versions) and _version(versions, "trl") > (0, 9, 6),
        "LLaMA-Factory {llamafactory} does not train beside trl {trl}: it wants 0.9.6 at most",
        "install llamafactory 0.9.5 and trl 0.19.1 in that environment",
        "check_dependencies in llamafactory/extras/misc.py of 0.9.3",
    ),
    _Row(
        (),
        (),
        lambda versions: not _is_old(versions) and _version(versions, "trl") < (0, 18),
        "LLaMA-Factory {llamafactory} does not train beside trl {trl}: it imports prepare_deepspeed, which comes later",
        "install trl 0.19.1 in that environment",
        "tried with 0.9.5 and trl 0.9.6; llamafactory/train/kto/trainer.py and extras/misc.py of 0.9.5 (trl>=0.18)",
    ),
    _Row(
        ("dpo",),
        ("hinge", "ipo"),
        lambda versions: not _is_old(versions) and _version(versions, "trl") >= (0, 20),
        "with trl {trl} (0.20 and newer) pref_loss {loss} silently trains plain sigmoid",
        "install trl 0.19.1 in that environment, or train with loss sigmoid",
        "first logged loss 0.6931 for both with trl 0.24.0; with 0.19.1 hinge 1.0, ipo 1 / (4 beta^2)",
        is_silent=True,
    ),
    _Row(
        ("dpo",),
        ("kto_pair",),
        lambda versions: not _is_old(versions) and _version(versions, "trl") >= (0, 20),
        "with trl {trl} (0.20 and newer) pref_loss kto_pair silently trains plain sigmoid",
        "train with --method kto: it takes pairs too",
        "first logged loss 0.6931 with trl 0.24.0",
        is_silent=True,
    ),
    _Row(
        ("dpo",),
        ("kto_pair",),
        lambda versions: True,
        "trl {trl} has no loss kto_pair any more, though LLaMA-Factory still takes the word",
        "train with --method kto: it takes pairs too",
        "tried with trl 0.19.1: ValueError at the first step; trl/trainer/dpo_trainer.py",
    ),
)

# Templates of the main engine that an older LLaMA-Factory lacks, and the one whose prompts are the same there. Good
# for PPO only: it reads prompts, never labels. With qwen3 a *label* would begin with an empty <think></think>.
_PPO_STAND_INS = {"qwen3_nothink": "qwen3"}


def can(engine_versions: Versions, method: str, loss: str | None = None) -> Limitation | None:
    """None if an engine with these versions trains `method` (with `loss`) as asked, else why not.

    Args:
        engine_versions: version by distribution name, as in `Engine.versions`.
        method: dpo, kto, ...; one that no row names (sft) is subject to the rows about all methods only.
        loss: `pref_loss` of dpo; None for its default, sigmoid.

    The facts were measured or stand in the sources of LLaMA-Factory; each row names which.
    """
    for row in _TABLE:
        if row.methods and method not in row.methods:
            continue
        if row.losses and loss not in row.losses:
            continue
        if row.applies(engine_versions):
            names = {name: engine_versions.get(name, "(missing)") for name in ("llamafactory", "trl")}
            what = row.what.format(loss=loss, **names)
            return Limitation(what, row.fix, row.source, row.is_silent, row.engine)
    return None


@dataclass(frozen=True)
class Ability:
    """One line of an engine's abilities: a method, and a loss where it has a choice."""

    method: str
    loss: str | None
    limitation: Limitation | None


def abilities(engine_versions: Versions, methods: Methods) -> list[Ability]:
    """Each of these methods and losses, with what an engine with these versions lacks for it."""
    return [
        Ability(method, loss, can(engine_versions, method, loss))
        for method, losses in methods.items()
        for loss in (losses or (None,))
    ]


def summary(engine_versions: Versions, methods: Methods) -> str:
    """Which of these methods an engine with these versions trains: "dpo (sigmoid, hinge), kto, rm"; or "nothing"."""
    words = []
    for method, losses in methods.items():
        good = [loss for loss in losses if can(engine_versions, method, loss) is None]
        if good:
            words.append(f"{method} ({', '.join(good)})")
        elif not losses and can(engine_versions, method) is None:
            words.append(method)
    return ", ".join(words) or "nothing"


def ppo_template(engine_versions: Versions, template: str) -> str:
    """The template to name for PPO in an engine with these versions so that the prompts are those of `template`.

    LLaMA-Factory before 0.9.4 has no qwen3_nothink; the prompts of its qwen3 are the same with `enable_thinking` left
    at true (llamafactory/data/template.py of 0.9.3, ReasoningTemplate: the empty thought goes into the label then).
    """
    return _PPO_STAND_INS.get(template, template) if _is_old(engine_versions) else template
