"""What GPUs pass to each other in a training, and how long that takes: rings over the slowest link.

An all-reduce of S bytes passes 2 (N - 1) / N S bytes over each link of a ring of N GPUs, an all-gather or a
reduce-scatter half of that (Patarasuk and Yuan, Bandwidth optimal all-reduce algorithms, 2009; doc/PERFORMANCE.md of
nccl-tests). What is passed follows from how the GPUs share the training (arXiv 1910.02054, section 7, and 2304.11277).
docs/planner.md has it in words; `links.yaml` has the bandwidths with their sources.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rlguide.catalog.gpus import Gpus
from rlguide.catalog.yaml_file import read_yaml
from rlguide.errors import UsageError
from rlguide.planner.memory import Sharing
from rlguide.planner.simulation import Step, is_half

BUCKET = 25 << 20  # bytes that DDP reduces at once: torch's bucket_cap_mb
_NETWORK = re.compile(
    r"(?:(?P<cards>[1-9]\d?)\s*[x*×]\s*)?(?P<speed>[1-9]\d{0,3})\s*G(?:b(?:E|-?IB)?|bps|E)", re.IGNORECASE
)


@dataclass(frozen=True)
class Link:
    """The slowest link of a ring: bytes a second in one direction, as NCCL reaches them; and what it is."""

    bandwidth: float
    name: str


@dataclass(frozen=True)
class Traffic:
    """What the GPUs exchange in one update.

    Attributes:
        reduced: bytes that are summed over all GPUs (all-reduce).
        gathered: bytes that each GPU holds a part of and all need (all-gather).
        scattered: bytes that are summed, of which each GPU keeps a part (reduce-scatter).
        calls: of any of these; an all-reduce counts as two.
    """

    reduced: float = 0.0
    gathered: float = 0.0
    scattered: float = 0.0
    calls: float = 0.0

    @property
    def volume(self) -> float:
        """Bytes that pass each link of a ring of very many GPUs."""
        return 2 * self.reduced + self.gathered + self.scattered


@cache
def links() -> dict[str, Any]:
    """`links.yaml`."""
    found: dict[str, Any] = read_yaml(Path(__file__).with_name("links.yaml"))
    return found


def nodes_of(gpus: Gpus) -> int:
    """The nodes that are said, else as few as hold the GPUs; at most as many as there are GPUs."""
    return min(gpus.count, gpus.nodes) or -(-gpus.count // int(links()["network"]["most_gpus"]))


def network_bandwidth(text: str) -> float:
    """Bytes a second in one direction between nodes: `100GbE`, `400Gb-IB`, `8x400Gb-IB` with eight adapters a node.

    Raises:
        UsageError: none of these.
    """
    found = _NETWORK.fullmatch(text.strip())
    if found is None:
        raise UsageError(
            f"--interconnect {text} is not the speed of a network between nodes",
            "write it so: 25GbE, 100GbE, 200Gb-IB, or 8x400Gb-IB for eight adapters in each node",
        )
    return int(found["cards"] or 1) * int(found["speed"]) * 1e9 / 8


def slowest_link(gpus: Gpus) -> Link:
    """The slowest link of a ring through all of them, which enters and leaves each node once."""
    within = _within(gpus.model.name)
    if nodes_of(gpus) == 1:
        return within
    network = links()["network"]
    name = gpus.network or f"{network['assumed']} between nodes (assumed: --interconnect)"
    between = Link(network_bandwidth(gpus.network or network["assumed"]) * network["share"], name)
    return min(within, between, key=lambda link: link.bandwidth)


def _within(name: str) -> Link:
    nvlink, pcie = links()["nvlink"], links()["pcie"]
    if name in nvlink["gigabytes"]:
        return Link(nvlink["gigabytes"][name] * 1e9 * nvlink["share"], "NVLink")
    generation = pcie["generation"].get(name, pcie["unknown"])
    return Link(pcie["gigabytes"][generation] * 1e9 * pcie["share"], f"PCIe {generation}.0")


@dataclass(frozen=True)
class Passes:
    """What each GPU does in an update.

    Attributes:
        micro_batches: that it trains on.
        forwards: forward passes for each of them: its own, and those of the reference and of evaluations.
        layers: of the model, which sharded weights are gathered by.
    """

    micro_batches: int
    forwards: float
    layers: int


def traffic_of(step: Step, sharing: Sharing, config: Mapping[str, Any], passes: Passes) -> Traffic:
    """What one update exchanges."""
    if sharing.count < 2:
        return Traffic()
    half = 2 if is_half(config) else 4
    trained = step.trained * half
    if not sharing.shares:  # LLaMA-Factory trains in float32 what it does not load so, unless pure_bf16
        gradients = step.trained * (2 if config.get("pure_bf16") else 4)
        return Traffic(reduced=gradients, calls=2 * -(-gradients // BUCKET))
    bits = config.get("quantization_bit")
    weights = step.parameters * (int(bits) / 8 if bits else half)
    updates = passes.micro_batches if "gradients" in sharing.shares else 1  # else only the sum of an update is shared
    if "weights" in sharing.shares:  # gathered for each forward pass, and once more on the way back
        times = passes.micro_batches * (passes.forwards + 1)
        calls = passes.layers * (times + updates)
        return Traffic(gathered=weights * times, scattered=trained * updates, calls=calls)
    return Traffic(gathered=trained, scattered=trained * updates, calls=(updates + 1) * -(-trained // BUCKET))


def exchange_seconds(traffic: Traffic, gpus: Gpus) -> float:
    """Seconds that one update's exchange takes when nothing else happens; 0 on one GPU."""
    count = gpus.count
    if count < 2:
        return 0.0
    passed = (count - 1) / count * traffic.volume / slowest_link(gpus).bandwidth
    return passed + traffic.calls * (count - 1) * float(links()["hop_seconds"])
