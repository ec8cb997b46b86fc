"""Which way of sharing a training among GPUs fits, and is the fastest of those that do.

DDP wherever it fits: an update exchanges gradients only, and of LoRA there is nothing to share but frozen weights.
Where it does not, ZeRO-2 may, if all weights are trained: it shares gradients and the optimizer's state, and exchanges
as much as DDP. FSDP2 and ZeRO-3 share the weights, too, which they gather in each pass: half as much again as DDP
exchanges where all are trained, and far more with LoRA (arXiv 1910.02054, section 7). FSDP2 comes before ZeRO-3, as
it needs no package, and no merging of the SFT adapter into a model of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rlguide.planner.memory import GIB
from rlguide.planner.plan import Plan, Training, plan_all
from rlguide.recipes.sharing.ways import FSDP, ZERO2, ZERO3, is_said, sharing_keys

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.workspace import Workspace

_VALUE_HEAD = "rm"  # the stage that is planned whose model FSDP2 cannot share (recipes.sharing.checks)


@dataclass(frozen=True)
class Choice:
    """A way (`recipes.sharing.ways`) that fits where DDP does not, its plan, and the reason in words."""

    name: str
    plan: Plan
    why: str


def candidates(training: Training, has_deepspeed: bool) -> list[str]:
    """The ways to try where DDP does not fit, those that exchange least first."""
    config = training.config
    if is_said(config) or config.get("quantization_bit") or config.get("use_cpu"):
        return []  # a person's own; or a base of 4 bits, which FSDP2 cannot share, and ZeRO-3 was not tried with
    is_full = config.get("finetuning_type") in ("full", "freeze")
    found = [ZERO2] if has_deepspeed and is_full else []
    found += [FSDP] if training.method.stage != _VALUE_HEAD else []
    return [*found, ZERO3] if has_deepspeed else found


def choose(ws: Workspace, engine: Engine, plan: Plan) -> Choice | None:
    """What fits where this plan does not; None where it fits, or nothing else does.

    Raises:
        EngineError: the engine does not start.
    """
    if plan.fits is not False or plan.sharing.count < 2:
        return None
    names = candidates(plan.training, "deepspeed" in engine.versions)
    trainings = [replace(plan.training, config={**plan.training.config, **sharing_keys(name)}) for name in names]
    for name, other in zip(names, plan_all(ws, engine, trainings, plan.gpus), strict=True):
        if isinstance(other, Plan) and other.fits:
            return Choice(name, other, _why(name, plan, other))
    return None


def _why(name: str, plan: Plan, other: Plan) -> str:
    before, after = plan.memory.peak / GIB, other.memory.peak / GIB
    shared = "gradients and the optimizer's state are" if name == ZERO2 else "all weights are"
    return f"{shared} shared among {plan.sharing.count} GPUs: {after:.1f} GiB on each, where DDP needs {before:.1f}"


def why(plan: Plan) -> str:
    """Why a plan shares as it does; "" for one process."""
    if plan.sharing.count < 2:
        return ""
    if is_said(plan.training.config):
        return "as the config says"
    if plan.fits is False:
        return "nothing that shares more fits either, or can be used here"
    return "it fits, and only gradients are exchanged"
