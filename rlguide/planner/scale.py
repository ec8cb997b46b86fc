"""The same training on 1 to 64 GPUs: time, GPU-hours, energy and what the exchange between them costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlguide.catalog.gpus import Gpus
from rlguide.planner.communication import nodes_of, slowest_link
from rlguide.planner.learnt import allowance_for
from rlguide.planner.memory import memory_of, sharing_of
from rlguide.planner.plan import Plan, planned_time
from rlguide.planner.simulation import text_model
from rlguide.planner.time import kilowatt_hours
from rlguide.recipes.schedule import ACCUMULATION, MICRO_BATCH, count_of

COUNTS = (1, 2, 4, 8, 16, 32, 64)


def most_gpus(plan: Plan) -> int:
    """GPUs beyond which no more help at this effective batch: each has a micro-batch of its own in every update."""
    return max(1, plan.training.schedule.effective_batch // count_of(plan.training.config, MICRO_BATCH))


def scaled(plan: Plan, count: int, root: Path) -> Plan:
    """The same training on so many GPUs, with fewer micro-batches on each at the same effective batch.

    Beyond `most_gpus` each still has one, and the effective batch grows: as many examples in fewer updates.

    Args:
        root: of the workspace, where DeepSpeed's file is.
    """
    assert plan.gpus is not None
    training, schedule = plan.training, plan.training.schedule
    micro = count_of(training.config, MICRO_BATCH)
    accumulation = max(1, -(-schedule.effective_batch // (micro * count)))
    batch = accumulation * micro * count
    config = {**training.config, ACCUMULATION: accumulation}
    steps = max(1, -(-schedule.total_steps * schedule.effective_batch // batch))
    changed = replace(schedule, processes=count, effective_batch=batch, total_steps=steps,
                      steps_per_epoch=max(1, -(-schedule.rows // batch)))  # fmt: skip
    # As many nodes as are needed where their size is known: that of the nodes which were named.
    each = -(-plan.gpus.count // plan.gpus.nodes) if plan.gpus.nodes else 0
    gpus = replace(plan.gpus, count=count, nodes=-(-count // each) if each else 0)
    sharing = sharing_of(config, count, root, text_model(training.model))
    memory = memory_of(plan.step, sharing, allowance_for(gpus.model))
    training = replace(training, config=config, schedule=changed)
    return replace(plan, training=training, gpus=gpus, sharing=sharing, memory=memory)


def scale(plan: Plan, root: Path, counts: Sequence[int] = COUNTS) -> list[dict[str, Any]]:
    """A row for each number of GPUs; seconds, bytes. Empty where the speed of the GPU is not known.

    `efficiency` is the time of one GPU over that of N, by N; `exchange` the seconds of passing data, `link` over what.
    """
    rows: list[dict[str, Any]] = []
    alone = planned_time(scaled(plan, 1, root))
    for count in counts:
        found = scaled(plan, count, root)
        time = planned_time(found)
        if time is None or alone is None or found.gpus is None:
            return []
        energy = kilowatt_hours(time, found.gpus)
        schedule = found.training.schedule
        rows.append({
            "gpus": count,
            "nodes": nodes_of(found.gpus),
            "sharing": found.sharing.name,
            "fits": found.fits,
            "peak": found.memory.peak,
            "accumulation": count_of(found.training.config, ACCUMULATION),
            "effective_batch": schedule.effective_batch,
            "steps": schedule.total_steps,
            "seconds": {"low": time.low, "mid": time.mid, "high": time.high},
            "exchange": found.exchange,
            "exchanged_bytes": found.traffic.volume,
            "link": slowest_link(found.gpus).name if count > 1 else None,
            "gpu_hours": count * time.mid / 3600,
            "kilowatt_hours": energy.mid if energy else None,
            "efficiency": alone.mid / (count * time.mid),
        })  # fmt: skip
    return rows


def scale_lines(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows for a person, and what limits them."""
    from rlguide.planner.report import duration

    if not rows:
        return ["scale      the speed of this GPU is not known: name one of the catalog, e.g. --gpus 8xA100"]
    batch, most = plan.training.schedule.effective_batch, most_gpus(plan)
    heads = f"{'GPUs':>5} {'nodes':>5} {'batch':>11} {'time':>10} {'exchange':>9} {'GPU-hours':>9} {'kWh':>7}"
    shown = [f"{heads} {'efficiency':>10}  memory"]
    for row in rows:
        micro = row["effective_batch"] // (row["gpus"] * row["accumulation"])
        how = f"{row['gpus']}x{micro}x{row['accumulation']}" + ("*" if row["effective_batch"] != batch else "")
        energy = f"{row['kilowatt_hours']:.1f}" if row["kilowatt_hours"] is not None else ""
        part = row["exchange"] / row["seconds"]["mid"]
        fits = "fits" if row["fits"] else "does not fit"
        shown.append(
            f"{row['gpus']:>5} {row['nodes']:>5} {how:>11} {duration(row['seconds']['mid']):>10} {part:>9.1%} "
            f"{row['gpu_hours']:>9.1f} {energy:>7} {row['efficiency']:>10.0%}  {row['sharing']}: {fits}"
        )
    unit = plan.training.schedule.unit
    shown.append(
        f"batch: GPUs x micro-batch x accumulation; {batch} {unit} an update, which up to {most} GPUs can share"
    )
    if any(row["effective_batch"] != batch for row in rows):
        shown.append(f"*: a larger batch, which learns otherwise; {batch} {unit} are shared by {most} GPUs at most")
    links = dict.fromkeys(row["link"] for row in rows if row["link"])
    shown.append(f"exchange: share of the time, over {', then '.join(links)}; not hidden behind the computing")
    return shown


def with_network(gpus: Gpus | None, network: str | None) -> Gpus | None:
    """The same with its network between nodes. Raises UsageError for what is none."""
    from rlguide.planner.communication import network_bandwidth

    if gpus is None or network is None:
        return gpus
    network_bandwidth(network)
    return replace(gpus, network=network.strip())
