"""The methods of preference tuning (`methods.yaml`): what each needs, costs and is good for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from rlguide.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        stage: LLaMA-Factory's stage that trains it.
        data: "pairs", "labels", or "prompts" (pairs serve as any of them).
        losses: values of `pref_loss`, the first is the default; empty if the stage has no such key.
        keys: keys that this method reads and others may not.
        has_reference: whether the loss compares with a reference policy.
    """

    name: str
    title: str
    stage: str
    data: str
    needs: str
    cost: str
    strengths: str
    recommendation: str
    losses: tuple[str, ...]
    keys: tuple[str, ...]
    has_reference: bool
    source: str


@cache
def methods() -> dict[str, Method]:
    """All methods by name, the recommended one first."""
    import yaml

    text = files("rlguide.catalog").joinpath("methods.yaml").read_text(encoding="utf-8")
    return {
        name: Method(name, **{**item, "losses": tuple(item["losses"]), "keys": tuple(item["keys"])})
        for name, item in yaml.safe_load(text).items()
    }


def find_method(name: str) -> Method:
    """The method of this name. Raises UsageError."""
    if name not in methods():
        near = did_you_mean(name, list(methods()))
        raise UsageError(
            f"no method {name}{near}", f"choose one of {', '.join(methods())}; `rlguide methods` compares them"
        )
    return methods()[name]


def method_of(stage: str, loss: str | None) -> Method | None:
    """The method that a config with this stage and `pref_loss` trains, None if it is none of these."""
    for method in methods().values():
        if method.stage == stage and (not method.losses or (loss or "sigmoid") in method.losses):
            return method
    return None
