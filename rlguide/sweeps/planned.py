"""What a sweep will take before it starts, by the plan of its trials: time, energy and disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlguide.errors import RlguideError
from rlguide.recipes.prepare import Prepared
from rlguide.workspace import Workspace, free_bytes

if TYPE_CHECKING:
    from rlguide.catalog.gpus import Gpus

_GIB = 1 << 30


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep will take.

    Attributes:
        trials: how many; planned: of how many settings the plan was made, the others taken as their mean.
        seconds: (low, middle, high) until all are done; None where it is not known.
        gpu_seconds: the middle, summed over all GPUs; kilowatt_hours: of all boards.
        disk: bytes of all trials.
        why: where the time comes from, or why there is none.
    """

    trials: int
    at_once: int
    planned: int
    seconds: tuple[float, float, float] | None
    gpu_seconds: float | None
    kilowatt_hours: float | None
    disk: int
    why: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("low", "mid", "high")
        seconds = None if self.seconds is None else dict(zip(names, self.seconds, strict=True))
        return {**self.__dict__, "seconds": seconds}


def plan_sweep(
    ws: Workspace, prepared: Sequence[Prepared], trials: int, at_once: int, gpus: Gpus | None, disk: int
) -> SweepPlan:
    """The time of all trials on these GPUs, so many of them at once; none of them is assumed to be stopped early.

    Args:
        prepared: all trials of a grid, or what is taken for the trials of a search: the middle of the space.
        gpus: of one trial; None where there are none.
        disk: bytes of all.
    """
    from rlguide.planner.asked import of_prepared
    from rlguide.planner.plan import Plan, plan_all, planned_time
    from rlguide.planner.time import kilowatt_hours

    if gpus is None:
        return SweepPlan(trials, at_once, 0, None, None, None, disk, "no time without a GPU to plan for")
    trainings = [of_prepared(ws, item, False) for item in prepared]
    plans = plan_all(ws, prepared[0].engine, trainings, gpus)
    whys = [plan for plan in plans if isinstance(plan, str)]
    times = [time for plan in plans if isinstance(plan, Plan) and (time := planned_time(plan)) is not None]
    if not times or whys:
        return SweepPlan(
            trials, at_once, 0, None, None, None, disk, whys[0] if whys else "the GPU's speed is not known"
        )
    each = trials / len(times)
    low, mid, high = (sum(getattr(time, name) for time in times) / len(times) for name in ("low", "mid", "high"))
    rounds = math.ceil(trials / at_once)
    energies = [energy.mid for time in times if (energy := kilowatt_hours(time, gpus)) is not None]
    return SweepPlan(
        trials,
        at_once,
        len(times),
        (low * rounds, mid * rounds, high * rounds),
        mid * trials * gpus.count,
        sum(energies) * each if len(energies) == len(times) else None,
        disk,
        times[0].why,
    )


def lines(found: SweepPlan) -> list[str]:
    """The estimate for a person."""
    from rlguide.planner.report import duration

    shown = [f"trials     {found.trials}, {found.at_once} at the same time"]
    if found.seconds is None:
        shown.append(f"time       not known: {found.why}")
    else:
        low, mid, high = map(duration, found.seconds)
        shown.append(f"time       about {mid}, between {low} and {high}, if none is stopped early ({found.why})")
        if found.gpu_seconds is not None:
            shown.append(f"           {found.gpu_seconds / 3600:.1f} GPU-hours")
    if found.kilowatt_hours is not None:
        shown.append(f"energy     about {found.kilowatt_hours:.1f} kWh, the boards alone")
    shown.append(f"disk       at most {found.disk / 1e9:.1f} GB for the checkpoints of all trials")
    return shown


def check_disk(ws: Workspace, needed: int, trials: int) -> None:
    """Refuse a sweep that the disk cannot hold. Raises RlguideError with both figures."""
    free = free_bytes(ws.saves)
    if free < needed:
        raise RlguideError(
            f"{trials} trials need about {needed / _GIB:.1f} GiB of disk, {free / _GIB:.1f} GiB are free",
            "free some space, try fewer trials, or keep no optimizer states: --set save_only_model=true (such a trial"
            " begins anew when it is resumed)",
        )


def disk_of(prepared: Sequence[Prepared], trials: int) -> int:
    """Bytes that all trials write: the largest of those that were prepared, for each."""
    return max(item.disk_bytes for item in prepared) * trials
