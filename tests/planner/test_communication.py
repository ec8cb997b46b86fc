"""What GPUs pass to each other: nothing on one, the ring's bytes on several, never less on more of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.catalog.gpus import Gpus, gpu_models, parse_gpus
from rlguide.errors import UsageError
from rlguide.planner.communication import (
    Passes,
    Traffic,
    exchange_seconds,
    links,
    network_bandwidth,
    nodes_of,
    slowest_link,
    traffic_of,
)
from rlguide.planner.memory import Sharing
from rlguide.planner.simulation import Counted, Step
from rlguide.planner.time import Efficiency, Work, seconds

MODELS = st.sampled_from(list(gpu_models().values()))
COUNTS = st.integers(1, 128)
TRAFFICS = st.builds(Traffic, *[st.floats(0, 1e13)] * 3, st.floats(0, 1e5))
FULL = frozenset({"weights", "reference", "trained", "gradients", "optimizer"})
STEP = Step({}, Counted(), Counted(), Counted(), parameters=4_000, trained=1_000, optimizer=0, tokens=8, squares=8)


@given(TRAFFICS, MODELS, COUNTS)
def test_one_gpu_passes_nothing_and_more_never_less(traffic: Traffic, model: Any, count: int) -> None:
    assert exchange_seconds(traffic, Gpus(model)) == 0
    fewer, more = exchange_seconds(traffic, Gpus(model, count)), exchange_seconds(traffic, Gpus(model, count + 1))
    assert 0 <= fewer <= more
    faster = Gpus(model, count + 1, network="8x400Gb-IB")
    assert exchange_seconds(traffic, faster) <= exchange_seconds(traffic, replace(faster, network="10GbE"))


@given(MODELS, st.integers(2, 512), st.floats(1e6, 1e12))
def test_an_all_reduce_is_the_rings_share_over_the_slowest_link(model: Any, count: int, size: float) -> None:
    gpus = Gpus(model, count)
    expected = 2 * (count - 1) / count * size / slowest_link(gpus).bandwidth
    assert exchange_seconds(Traffic(reduced=size), gpus) == pytest.approx(expected)
    both = Traffic(gathered=size, scattered=size)
    assert exchange_seconds(both, gpus) == pytest.approx(expected)


def test_links() -> None:
    assert slowest_link(parse_gpus("8xA100")).bandwidth == pytest.approx(240e9)  # 300 a direction, of which 0.8
    assert slowest_link(parse_gpus("2x4090")).name == "PCIe 4.0"
    across = slowest_link(parse_gpus("16xA100"))
    assert across.bandwidth == pytest.approx(10e9) and "100GbE between nodes (assumed" in across.name
    # A network that is faster than what joins the GPUs of a node does not help.
    assert slowest_link(replace(parse_gpus("2x8x4090"), network="8x400Gb-IB")).name == "PCIe 4.0"


def test_every_gpu_of_the_catalog_has_one_link() -> None:
    found = [*links()["nvlink"]["gigabytes"], *links()["pcie"]["generation"]]
    assert sorted(found) == sorted(gpu_models())


@pytest.mark.parametrize(
    ("text", "nodes"), [("8xA100", 1), ("9xA100", 2), ("64xA100", 8), ("4x2xA100", 4), ("2x1x4090", 2)]
)
def test_nodes(text: str, nodes: int) -> None:
    assert nodes_of(parse_gpus(text)) == nodes


@pytest.mark.parametrize(
    ("text", "bits"),
    [("25GbE", 25e9), ("100gbe", 100e9), ("200Gb-IB", 2e11), ("400GbIB", 4e11), ("8x400Gb-IB", 3.2e12)],
)
def test_networks(text: str, bits: float) -> None:
    assert network_bandwidth(text) == bits / 8


@given(st.text(max_size=12))
def test_any_other_network_is_refused(text: str) -> None:
    try:
        assert network_bandwidth(text) > 0
    except UsageError as error:
        assert "100GbE" in str(error.fix)


def test_ddp_passes_what_is_trained_once_an_update() -> None:
    config = {"bf16": True}
    for micro_batches in (1, 16):
        found = traffic_of(STEP, Sharing("DDP", 4), config, Passes(micro_batches, 2.0, 36))
        assert found.volume == 2 * 4 * 1_000  # gradients in float32
    assert traffic_of(STEP, Sharing("DDP", 4), {"pure_bf16": True}, Passes(1, 1.0, 36)).volume == 2 * 2 * 1_000
    assert traffic_of(STEP, Sharing(), config, Passes(1, 1.0, 36)) == Traffic()


def test_zero_moves_as_much_as_ddp_and_sharded_weights_half_as_much_again() -> None:
    """Sections 7.1 and 7.2 of arXiv 1910.02054: 2 and 3 times the parameters, where all are trained in 16 bits."""
    step = replace(STEP, trained=STEP.parameters)
    passes = Passes(1, 1.0, 36)
    two = traffic_of(step, Sharing("ZeRO-2", 8, frozenset({"optimizer", "gradients"})), {"bf16": True}, passes)
    three = traffic_of(step, Sharing("ZeRO-3", 8, FULL), {"bf16": True}, passes)
    assert two.volume == 2 * 2 * step.parameters
    assert three.volume == 3 * 2 * step.parameters


@given(st.integers(1, 64), st.floats(1, 4))
def test_sharded_weights_are_gathered_for_each_pass(micro_batches: int, forwards: float) -> None:
    found = traffic_of(STEP, Sharing("FSDP", 8, FULL), {"bf16": True}, Passes(micro_batches, forwards, 36))
    assert found.gathered == pytest.approx(2 * 4_000 * micro_batches * (forwards + 1))
    assert found.scattered == 2 * 1_000 * micro_batches


@given(MODELS, st.floats(0, 1e6), st.floats(1e15, 1e22))
def test_the_exchange_is_hidden_at_best_and_added_at_worst(model: Any, exchange: float, flops: float) -> None:
    gpus, work = Gpus(model, 4), Work(flops)
    dtype = "fp16"
    published = Efficiency(0.2, 0.4, 0.5, "")
    without, found = seconds(work, gpus, dtype, published), seconds(work, gpus, dtype, published, exchange)
    assert without and found
    assert found.low == max(without.low, exchange)
    assert found.mid == pytest.approx(without.mid + exchange)
    assert found.low <= found.mid <= found.high
    measured = replace(published, runs=3, count=4)  # on as many GPUs: it is in there
    assert seconds(work, gpus, dtype, measured, exchange) == seconds(work, gpus, dtype, measured)
