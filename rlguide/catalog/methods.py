"""The methods of preference tuning, and SFT before it (`methods.yaml`): what each needs, costs and is good for.

A method is one entry of that file and a template in `recipes/templates`; all other code asks here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rlguide.catalog.yaml_file import read_yaml
from rlguide.errors import UsageError, did_you_mean

_FILE = Path(__file__).with_name("methods.yaml")
SFT_COMMAND = "rlguide train --method sft --base Qwen/Qwen3-4B-Base"  # how the guide says to make an SFT checkpoint


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        stage: LLaMA-Factory's stage that trains it.
        data: "pairs", "labels", "prompts", or "responses": prompts with one good response (pairs serve as any of them).
        losses: values of `pref_loss`, the first is the default; empty if the stage has no such key.
        keys: keys that this method reads and others may not.
        has_reference: whether the loss compares with a reference policy.
        from_base: whether it is meant to start from a base model, and not from an SFT checkpoint.
        trains: "policy", or "reward model": a model that scores responses and cannot write any.
        first_loss: by loss ("" without a choice), the formula of the first step's loss, when policy and reference are
            equal; the formulas are those of `runs.diagnosis.first_step`. A loss that is missing depends on the data.
        normal: how a sound run goes, where no first loss says so; else "".
        micro_batch: what of the loss is a mean over the micro-batch, by the key that makes it so ("" without one).
        not_resumable: why LLaMA-Factory cannot resume it; "" if it can.
        last_file: what the engine writes last, by which a finished run is known.
        best_by: held-out figures beside the loss by which its best step can be chosen (`--best-by`), and their keys.
    """

    name: str
    title: str
    stage: str
    data: Literal["pairs", "labels", "prompts", "responses"]
    needs: str
    cost: str
    strengths: str
    recommendation: str
    losses: tuple[str, ...]
    keys: tuple[str, ...]
    has_reference: bool
    source: str
    from_base: bool = False
    trains: str = "policy"
    first_loss: Mapping[str, str] = field(default_factory=dict)
    normal: str = ""
    micro_batch: Mapping[str, str] = field(default_factory=dict)
    not_resumable: str = ""
    last_file: str = "train_results.json"
    best_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def choices(self) -> tuple[str, ...]:
        """The losses to choose from; empty where there is no choice."""
        return self.losses if len(self.losses) > 1 else ()


@cache
def methods() -> dict[str, Method]:
    """All methods by name, the recommended one, which is the default, first."""
    return {
        name: Method(name, **{**item, "losses": tuple(item["losses"]), "keys": tuple(item["keys"])})
        for name, item in read_yaml(_FILE).items()
    }


def method_choices() -> dict[str, tuple[str, ...]]:
    """The methods by name with the losses to choose from, read without a YAML parser.

    The help of a command is built at each start, and a parser would be a third of what it costs.
    """
    text = _FILE.read_text(encoding="utf-8")
    found: dict[str, tuple[str, ...]] = {}
    for name, losses in re.findall(r"^(\w+):$|^  losses: \[(.*)\]$", text, re.MULTILINE):
        if name:
            found[name] = ()
        elif "," in losses:
            found[list(found)[-1]] = tuple(losses.split(", "))
    return found


def find_method(name: str | None) -> Method:
    """The method of this name; None is the recommended one. Raises UsageError."""
    known = methods()
    if name is None:
        return next(iter(known.values()))
    if name not in known:
        near = did_you_mean(name, list(known))
        raise UsageError(
            f"no method {name}{near}", f"choose one of {', '.join(known)}; `rlguide methods` compares them"
        )
    return known[name]


def method_of(config: Mapping[str, Any]) -> Method | None:
    """The method that a config (its stage, dpo by default, and `pref_loss`) trains, None if it is none of these."""
    stage, loss = config.get("stage", "dpo"), config.get("pref_loss") or "sigmoid"
    for method in methods().values():
        if method.stage == stage and (not method.losses or loss in method.losses):
            return method
    return None


def recorded_method(name: str | None) -> Method | None:
    """The method that the record of a run (`run.json`) names, the default if none; None if it is not known here."""
    return find_method(None) if name is None else methods().get(name)
