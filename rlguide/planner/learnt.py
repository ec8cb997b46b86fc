"""What trainings on this machine took beside what was planned; the next plan on such GPUs uses it.

`outcomes.jsonl` in the user's state folder, a line for each; the last line of a training counts. What cannot be read is
as if it were not there: the plan falls back to published figures.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from rlguide.catalog.gpus import GpuModel, Gpus, short_dtype
from rlguide.console import say
from rlguide.errors import RlguideError
from rlguide.locks import locked
from rlguide.planner.time import Efficiency, published_efficiency
from rlguide.workspace import atomic_write, user_state

STEPS = 20  # from which on the speed of a training says something: the first ones compile, warm up and read the disk
_POSSIBLE = 1.25  # of the peak: an RTX 5090's clock exceeds what its peak is quoted for by so much; more is a mistake
_RECENT = 10  # of the outcomes that are alike: drivers and engines change
_LARGEST = 1 << 20  # bytes of the file, at which all but the last `_KEPT` outcomes are dropped
_KEPT = 500
_PATIENCE = 10.0  # seconds for the lock

# How far one or two speeds may be off: the same setting; the same method; another method or length. The last is the
# spread of one model on one GPU from 1,024 to 8,192 tokens in Qwen's published speeds (0.41 to 0.60 of the peak).
_SPREADS = (1.05, 1.25, 1.5)

# Beside live tensors a GPU holds the CUDA context with its kernels and cuBLAS's workspaces: 133 to 147 MiB on a T4
# (github.com/Anassbzdd/fitcheck, 33 runs), 424 MiB on an A100, 781 MB with an older PyTorch (pytorch issue 34323).
FIXED_BYTES = 3 << 28
# The allocator's cache holds pieces that do not fit what is asked for: reserved over allocated memory in 11 runs on an
# RTX 4080 was 1.02 to 1.25, median 1.08 (github.com/DaoyuanLi2816/can-i-finetune-this).
SHARE = 0.08
_MARGIN = 0.02  # above what was seen not to suffice
_MOST = 1.0  # a share beyond which something else was wrong, such as another program on the GPU
_SURE = 3  # finished trainings, from which on they may lower the allowance


@dataclass(frozen=True)
class Outcome:
    """What a training took, beside what was planned.

    Attributes:
        run: names the training; a later outcome of the same replaces this one, unless memory ran out.
        gpu: `GpuModel.name`.
        count: GPUs.
        dtype: that was computed in.
        setting: what else decides the speed (model, lengths, micro-batch, checkpointing), in any form that is equal for
            equal settings; "" if it shall be compared by the method only.
        steps: that were timed.
        flops_per_second: planned operations of these steps over the seconds they took, on all GPUs; 0 if not timed.
        planned_flops_per_second: what the plan expected (its middle).
        planned_bytes: peak of live tensors on the fullest GPU, without any allowance; 0 if not planned.
        peak_bytes: what its allocator reserved at most; where memory ran out, what the GPU had for this process.
        date: ISO 8601.
    """

    run: str
    gpu: str
    count: int
    dtype: str
    method: str
    is_quantized: bool = False
    setting: str = ""
    steps: int = 0
    flops_per_second: float = 0.0
    planned_flops_per_second: float = 0.0
    planned_bytes: int = 0
    peak_bytes: int = 0
    out_of_memory: bool = False
    date: str = ""


@dataclass(frozen=True)
class Allowance:
    """Memory of a GPU beside live tensors: `fixed` bytes and a `share` of the tensors; `why`: where that is from."""

    fixed: int
    share: float
    why: str

    def of(self, planned_bytes: int) -> int:
        """Bytes to add to a planned peak."""
        return self.fixed + math.ceil(self.share * planned_bytes)


def record_outcome(outcome: Outcome) -> None:
    """Keep an outcome for the next plan; where it cannot be written, that is said and nothing else happens."""
    path = _file()
    try:
        with locked(path, timeout=_PATIENCE):
            _append(path, json.dumps(asdict(outcome)))
            if path.stat().st_size > _LARGEST:
                kept = [json.dumps(asdict(each)) for each in known_outcomes()[-_KEPT:]]
                with atomic_write(path) as file:
                    file.write("\n".join(kept) + "\n")
    except (OSError, RlguideError) as error:
        say(f"note: what this training took is not kept for the next plan: {error}")


def known_outcomes() -> list[Outcome]:
    """The last outcome of each training, oldest first, and each time that it ran out of memory; damage is left out."""
    try:
        lines = _file().read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []
    found: dict[tuple[str, int], Outcome] = {}
    for line in lines:
        outcome = _parsed(line)
        if outcome is not None:
            # What did not suffice is still true when a second attempt with another setting ends well.
            key = (outcome.run, outcome.planned_bytes if outcome.out_of_memory else -1)
            found.pop(key, None)  # its place is that of its last line
            found[key] = outcome
    return list(found.values())


def efficiency_for(gpus: Gpus, planned: Outcome) -> Efficiency:
    """The share of the peak to expect: that of earlier trainings on such GPUs, the more alike the better, or published.

    Args:
        planned: the training that is planned; its dtype, method, setting and base count, nothing measured.
    """
    peak, dtype = gpus.model.peak(planned.dtype) or math.inf, short_dtype(planned.dtype)
    timed = [each for each in known_outcomes() if each.gpu == gpus.model.name and short_dtype(each.dtype) == dtype]
    timed = [
        each for each in timed if each.steps >= STEPS and 0 < each.flops_per_second / peak / each.count < _POSSIBLE
    ]
    counts = (gpus.count, gpus.count, 1)  # of the last, others
    for spread, count, (alike, how) in zip(_SPREADS, counts, _alike(timed, gpus, planned), strict=True):
        shares = [each.flops_per_second / peak / each.count for each in alike[-_RECENT:]]
        if shares:
            return replace(_measured(shares, spread, f"{how} on {gpus.model.title}"), count=count)
    return published_efficiency(gpus.model, planned.is_quantized)


def _alike(timed: Sequence[Outcome], gpus: Gpus, planned: Outcome) -> list[tuple[list[Outcome], str]]:
    """Earlier outcomes that are like the planned one, and how, the most alike first."""
    base = [each for each in timed if each.is_quantized == planned.is_quantized]
    method = [each for each in base if each.method == planned.method and each.count == gpus.count]
    setting = [each for each in method if planned.setting and each.setting == planned.setting]
    return [(setting, "the same setting"), (method, planned.method), (base, "other trainings")]


def _measured(shares: Sequence[float], spread: float, how: str) -> Efficiency:
    """The median of measured shares, and their extremes, or how far so few of them may be off."""
    import statistics

    mid, close = statistics.median(shares), _SPREADS[0]
    low, high = (min(shares), max(shares)) if len(shares) >= _SURE else (mid / spread, mid * spread)
    times = "once" if len(shares) == 1 else f"{len(shares)} times"
    return Efficiency(min(low, mid / close), mid, max(high, mid * close), f"measured {times}: {how}", len(shares))


def allowance_for(model: GpuModel) -> Allowance:
    """What to allow beside live tensors on such a GPU.

    A training that ran out of memory needed more than the GPU had: that is a lower bound. One that ended needed no more
    than it reserved, but an allocator also keeps what it does not need where there is room; so several of them may
    lower the allowance, and none raises it.
    """
    seen = [each for each in known_outcomes() if each.gpu == model.name and each.planned_bytes and each.peak_bytes]
    failed = [(each.peak_bytes - FIXED_BYTES) / each.planned_bytes - 1 for each in seen if each.out_of_memory]
    ended = [max(0.0, each.peak_bytes / each.planned_bytes - 1) for each in seen if not each.out_of_memory][-_RECENT:]
    share, why = SHARE, "CUDA, its workspaces, and the median of published fragmentation; none was measured here yet"
    if len(ended) >= _SURE:
        share = min(SHARE, max(ended))
        why = f"CUDA, its workspaces, and the fragmentation of {len(ended)} trainings on {model.title}"
    if failed and max(failed) + _MARGIN > share:
        share = min(_MOST, max(failed) + _MARGIN)
        why = f"a training ran out of memory on {model.title}, which the plan had said to fit"
    return Allowance(FIXED_BYTES, share, why)


def _file() -> Path:
    return user_state() / "outcomes.jsonl"


def _append(path: Path, line: str) -> None:
    """Add a line in one write; one that was cut off before it stays by itself."""
    with path.open("a+b") as file:
        end = file.seek(0, 2)
        file.seek(max(0, end - 1))
        cut = end > 0 and file.read(1) != b"\n"
        file.write((b"\n" if cut else b"") + line.encode("ascii") + b"\n")


def _parsed(line: str) -> Outcome | None:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return read_outcome(values)


def read_outcome(values: Any) -> Outcome | None:
    """The outcome that a mapping of its fields describes; None if it is none."""
    if not isinstance(values, dict):
        return None
    known = {field.name: values[field.name] for field in fields(Outcome) if field.name in values}
    return Outcome(**known) if _is_sound(known) else None


def _is_sound(values: Mapping[str, Any]) -> bool:
    """Whether each value is of its field's type, and possible."""
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "bool": (bool,), "int": (int,), "float": (int, float)}
    for field in fields(Outcome):
        if field.name not in values:
            if field.name in ("run", "gpu", "count", "dtype", "method"):
                return False
            continue
        value = values[field.name]
        if not isinstance(value, kinds[str(field.type)]) or (field.type != "bool" and isinstance(value, bool)):
            return False
        if isinstance(value, (int, float)) and not 0 <= value < 1e25:  # not NaN either
            return False
    return int(values["count"]) > 0
