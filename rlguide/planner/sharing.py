"""Which way of sharing a training among GPUs fits, and is the fastest of those that do.

DDP wherever it fits; where it does not, the first of `recipes.sharing.ways.candidates` that does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rlguide.planner.memory import GIB
from rlguide.planner.plan import Plan, plan_all
from rlguide.recipes.sharing.ways import ZERO2, candidates, is_said, sharing_keys

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.workspace import Workspace


@dataclass(frozen=True)
class Choice:
    """A way (`recipes.sharing.ways`) that fits where DDP does not, its plan, and the reason in words."""

    name: str
    plan: Plan
    why: str


def choose(ws: Workspace, engine: Engine, plan: Plan) -> Choice | None:
    """What fits where this plan does not; None where it fits, or nothing else does.

    Raises:
        EngineError: the engine does not start.
    """
    if plan.fits is not False or plan.sharing.count < 2:
        return None
    names = candidates(plan.training.config, plan.training.method.stage, "deepspeed" in engine.versions)
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
