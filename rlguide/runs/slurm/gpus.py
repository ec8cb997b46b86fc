"""The GPUs of a job, as far as they are known before it runs: those of its nodes, not of the host it is typed on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rlguide.catalog.gpus import Gpus, parse_gpus
from rlguide.engine.hardware import Gpu, list_gpus
from rlguide.errors import UsageError
from rlguide.launchers.slurm.spec import JobSpec
from rlguide.planner.asked import as_host, host_gpus


@dataclass(frozen=True)
class JobGpus:
    """What a training in a job is prepared for.

    Attributes:
        each: GPUs of one node, as the driver would list them; none on the CPU.
        kind: the same for a plan; None where nothing is known of them, or on the CPU.
        assumed: what was assumed, in a sentence; "" if nothing was.
    """

    each: list[Gpu]
    kind: Gpus | None = None
    assumed: str = ""


def job_gpus(spec: JobSpec) -> JobGpus:
    """The GPUs of each node of a job: by the type that it names, else such as this host has, else any with bfloat16."""
    count = spec.gpu_count
    if not count:
        return JobGpus([], None, "no GPUs asked for: it trains on the CPU (--slurm gpus=4, or gpus=a100:4, for GPUs)")
    if spec.gpu_type:
        try:
            kind = replace(parse_gpus(spec.gpu_type), count=count)
            return JobGpus(as_host(kind) or [], kind)
        except UsageError:
            assumed = f"{spec.gpu_type} is not in the list of GPUs"
    else:
        assumed = "which GPUs they are is not said"
    here = host_gpus()
    if here is not None and list_gpus() and not spec.gpu_type:
        kind = replace(here, count=count)
        return JobGpus(as_host(kind) or [], kind, f"{assumed}: such as this host has ({here.model.title}) are assumed")
    name = spec.gpu_type or "GPU"
    each = [Gpu(place, name, 0, 0, (8, 0)) for place in range(count)]
    said = f"{assumed}: GPUs with bfloat16 (Ampere or later) are assumed, and whether it fits is not planned"
    return JobGpus(each, None, f"{said}; name them for a plan, e.g. gpus=a100:{count}")
