"""Memory that a training may still take, of its device and within the limits of this process; and what it took."""

import os
from pathlib import Path

import torch

_CGROUPS, _OF_PROCESS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Of version 2 and 1, as the kernel's documentation names them: a limit, what is used, and what of it is only a cache.
_FILES = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def memory(device) -> tuple[float, float]:
    """Bytes of memory that are free for this process, and all that the device has; (0, 0) if it is not known."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), total
    if device.type != "cpu":
        return 0, 0
    import psutil

    whole = psutil.virtual_memory()
    limits = [(whole.available, whole.total), *_of_cgroups()]
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    limits = [(free / processes, total / processes) for free, total in limits]
    limits += _of_process(psutil.Process())
    return max(0, min(free for free, _ in limits)), min(total for _, total in limits)


def taken() -> dict:
    """Bytes that this process holds: of its GPU, else of main memory (then only the peak: VmHWM).

    The names are those of rlguide/engine/out_of_memory.py. Nothing here asks a device that may have failed.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        device = torch.cuda.current_device()
        held, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
        properties = torch.cuda.get_device_properties(device)
        figures = {"allocated": held, "unallocated": reserved - held, "total": properties.total_memory}
        return {**figures, "peak": torch.cuda.max_memory_allocated(device), "device": properties.name}
    import resource

    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}


def _of_cgroups():
    """(free, total) of each group with a limit that this process is in, such as a container or a job of SLURM."""
    if not _OF_PROCESS.is_file():
        return
    for line in _OF_PROCESS.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUPS / "memory" if controllers else _CGROUPS
        inner = root / path.lstrip("/")  # seen from inside a container, some of these folders do not exist
        for folder in (inner, *inner.parents):
            if not folder.is_relative_to(root):
                break
            for limit, usage, cache in _FILES:
                text = (folder / limit).read_text().strip() if (folder / limit).is_file() else "max"
                if text.isdigit():
                    statistics = dict(row.split() for row in (folder / "memory.stat").read_text().splitlines())
                    used = int((folder / usage).read_text()) - int(statistics.get(cache, 0))
                    yield int(text) - used, int(text)


def _of_process(process):
    """(free, total) of the address space where `ulimit -v` limits it."""
    try:
        import resource
    except ImportError:  # Windows
        return []
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return [] if limit == resource.RLIM_INFINITY else [(limit - process.memory_info().vms, limit)]
