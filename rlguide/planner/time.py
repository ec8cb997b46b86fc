"""How long a training takes: its operations and bytes over what its GPUs can do, and what share of that they reach.

A roofline: the GPU can be no faster than its arithmetic, its memory and the program that starts its kernels allow.
docs/planner.md derives the numbers below from published speeds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rlguide.catalog.gpus import GpuModel, Gpus

# Shares of the dense peak on an A100, low, middle and high, by whether the base is quantized; `EXPONENT`, by which they
# fall on a GPU that can do more operations for each byte it moves; seconds of one layer's pass over a micro-batch too
# small to fill the GPU, median and longest. All are printed by scripts/derive_efficiency.py, which a test holds equal.
PUBLISHED = {False: (0.22, 0.54, 0.64), True: (0.18, 0.47, 0.6)}
EXPONENT = 0.9
PASS_SECONDS = (0.0022, 0.0049)
# Of a processor for each token of a micro-batch: LLaMA-Factory's collator, which pads and makes tensors (0.9.5,
# PairwiseDataCollatorWithPadding; 1 and 4 pairs of 160 to 2,048 tokens take 0.47 to 0.72 us a token on one core).
TOKEN_SECONDS = 0.6e-6
_A100 = 312e12 / 2039e9  # operations for each byte
_STARTING = "micro-batches are so small that starting the kernels of each layer takes longer than they do"


@dataclass(frozen=True)
class Efficiency:
    """The share of the dense peak that a training reaches: low, middle and high.

    Attributes:
        why: where it is from.
        runs: how many trainings on such GPUs it was measured on; 0 if it was published by others.
        count: GPUs of each of these, whose exchange it then holds; 1 where they are others.
    """

    low: float
    mid: float
    high: float
    why: str
    runs: int = 0
    count: int = 1


@dataclass(frozen=True)
class Range:
    """A figure that is not known exactly: low <= mid <= high, and where it is from."""

    low: float
    mid: float
    high: float
    why: str

    def times(self, factor: float) -> Range:
        """The same in another unit."""
        return Range(self.low * factor, self.mid * factor, self.high * factor, self.why)


@dataclass(frozen=True)
class Work:
    """What a training asks of all its GPUs together.

    Attributes:
        flops: operations; a multiplication and an addition are two, attention counts as if it were not causal (torch's
            FlopCounterMode).
        bytes_moved: bytes between GPU and its memory; 0 if not known.
        layer_passes: passes of one layer over one micro-batch: each forward, recomputation and backward is one; 0 if
            not known. They take a while however small the micro-batch is, because Python starts their kernels.
        tokens_loaded: tokens that are made a micro-batch of, which Python does in the same thread; 0 if not known.
    """

    flops: float
    bytes_moved: float = 0.0
    layer_passes: float = 0.0
    tokens_loaded: float = 0.0


def ridge(model: GpuModel) -> float:
    """Operations in bf16 or else fp16 for each byte that a GPU can move: the ridge of its roofline; 0 if not known."""
    peak = model.peak("bf16") or model.peak("fp16")
    return peak / model.bandwidth if peak and model.bandwidth else 0.0


def relative(model: GpuModel) -> float:
    """The share that this GPU reaches by what an A100 reaches: less, if its arithmetic outruns its memory further."""
    found = ridge(model)
    return min(1.0, (_A100 / found) ** EXPONENT) if found else 1.0


def published_efficiency(model: GpuModel, is_quantized: bool = False) -> Efficiency:
    """What others measured of fine-tuning, brought to this GPU; wide, because programs and lengths differ."""
    low, mid, high = (share * relative(model) for share in PUBLISHED[is_quantized])
    base = "4-bit" if is_quantized else "16-bit"
    return Efficiency(low, mid, high, f"published speeds of fine-tuning with a {base} base; none was measured here yet")


def seconds(work: Work, gpus: Gpus, dtype: str, efficiency: Efficiency, exchange: float = 0.0) -> Range | None:
    """Seconds that a training takes; None where the GPU's peak in this type is not known.

    The arithmetic at low, middle and high efficiency, but no less than the bytes take at full bandwidth and, while the
    efficiency is a published one, than the passes of layers take. Measured efficiencies hold all of that already.

    Args:
        dtype: that is computed in: "bfloat16", "float16", "float32" and their short names.
        exchange: seconds that the GPUs pass data to each other, all of it while they compute at best, else none of it;
            left out where the efficiency was measured on as many GPUs.
    """
    peak = gpus.model.peak(dtype)
    if not peak:
        return None
    moving = work.bytes_moved / (gpus.model.bandwidth * gpus.count) if gpus.model.bandwidth else 0.0
    passes = 0.0 if efficiency.runs else work.layer_passes / gpus.count
    loading = 0.0 if efficiency.runs else work.tokens_loaded * TOKEN_SECONDS / gpus.count
    low, mid, high = (
        max(work.flops / (peak * gpus.count * share), moving, passes * each + loading)
        for share, each in zip((efficiency.high, efficiency.mid, efficiency.low), (0.0, *PASS_SECONDS), strict=True)
    )
    is_starting = passes and mid == passes * PASS_SECONDS[0] + loading
    if efficiency.count != gpus.count:
        low, mid, high = max(low, exchange), mid + exchange, high + exchange
    return Range(low, mid, high, efficiency.why + (f"; {_STARTING}" if is_starting else ""))


def kilowatt_hours(time: Range, gpus: Gpus) -> Range | None:
    """Energy at the power of the boards, without the rest of the machine; None where that power is not known."""
    if not gpus.model.watts:
        return None
    why = f"{gpus.model.watts:.0f} W for each board, without the rest of the machine"
    return replace(time.times(gpus.model.watts * gpus.count / 3.6e6), why=why)
