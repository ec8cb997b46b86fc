"""Time and energy follow from operations, GPUs and efficiency; what was published is derived from its sources."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.catalog.gpus import GpuModel, Gpus, gpu_models, parse_gpus
from rlguide.planner import time
from rlguide.planner.time import Efficiency, Work, kilowatt_hours, published_efficiency, relative, ridge, seconds

ROOT = Path(__file__).resolve().parents[2]
A6000 = parse_gpus("a6000")
MEASURED = Efficiency(0.2, 0.4, 0.5, "measured", runs=3)
MODELS = st.sampled_from(list(gpu_models().values()))
WORKS = st.builds(Work, st.floats(1e6, 1e24), st.floats(0, 1e24), st.floats(0, 1e9))


@pytest.fixture(scope="module")
def derive() -> ModuleType:
    spec = importlib.util.spec_from_file_location("derive_efficiency", ROOT / "scripts/derive_efficiency.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look for themselves
    spec.loader.exec_module(module)
    return module


def test_at_full_efficiency_time_is_operations_over_the_peak() -> None:
    found = seconds(Work(154.8e12 * 3600), A6000, "bf16", Efficiency(0.5, 1.0, 1.0, "", runs=1))
    assert found is not None
    assert (found.low, found.mid, found.high) == pytest.approx((3600, 3600, 7200))


@given(work=WORKS, model=MODELS, count=st.integers(1, 64), is_quantized=st.booleans())
def test_low_middle_and_high_stand_in_order(work: Work, model: GpuModel, count: int, is_quantized: bool) -> None:
    found = seconds(work, Gpus(model, count), "fp16", published_efficiency(model, is_quantized))
    assert found is not None
    assert 0 < found.low <= found.mid <= found.high
    # no GPU is faster than its arithmetic or its memory
    assert found.low >= work.flops / (model.flops["fp16"] * count)
    assert found.low >= work.bytes_moved / (model.bandwidth * count)


@given(work=WORKS, model=MODELS)
def test_twice_the_gpus_take_half_the_time_and_the_same_energy(work: Work, model: GpuModel) -> None:
    efficiency = published_efficiency(model)
    one, two = (seconds(work, Gpus(model, count), "fp16", efficiency) for count in (1, 2))
    assert one is not None and two is not None
    assert two.mid == pytest.approx(one.mid / 2)
    energies = [kilowatt_hours(one, Gpus(model, 1)), kilowatt_hours(two, Gpus(model, 2))]
    assert energies[0] is not None and energies[1] is not None
    assert energies[0].high == pytest.approx(energies[1].high)


def test_energy_is_the_boards_power_for_that_time() -> None:
    time_ = time.Range(1800, 3600, 7200, "")
    energy = kilowatt_hours(time_, parse_gpus("2xA6000"))
    assert energy is not None
    assert (energy.low, energy.mid, energy.high) == pytest.approx((0.3, 0.6, 1.2))
    assert "300 W" in energy.why
    assert kilowatt_hours(time_, parse_gpus("24GB")) is None


def test_of_an_unknown_gpu_or_type_no_time_is_given() -> None:
    assert seconds(Work(1e18), parse_gpus("24GB"), "bf16", MEASURED) is None
    assert seconds(Work(1e18), parse_gpus("t4"), "bf16", MEASURED) is None
    assert seconds(Work(1e18), parse_gpus("t4"), "float16", MEASURED) is not None


def test_small_micro_batches_wait_for_their_kernels_until_that_is_measured() -> None:
    work = Work(flops=1e12, layer_passes=100_000)
    published = seconds(work, A6000, "bf16", published_efficiency(A6000.model))
    assert published is not None
    assert published.mid == pytest.approx(100_000 * time.PASS_SECONDS[0])
    assert published.low == pytest.approx(1e12 / 154.8e12 / published_efficiency(A6000.model).high)
    assert "micro-batches are so small" in published.why
    large = seconds(replace(work, flops=1e18), A6000, "bf16", published_efficiency(A6000.model))
    assert large is not None and "micro-batches are so small" not in large.why
    measured = seconds(work, A6000, "bf16", MEASURED)
    assert measured is not None and measured.mid == pytest.approx(1e12 / 154.8e12 / 0.4)


def test_the_published_shares_are_derived_from_their_sources(derive: ModuleType) -> None:
    assert {False: derive.shares(None), True: derive.shares(4)} == time.PUBLISHED
    assert derive.exponent() == time.EXPONENT
    assert derive.pass_seconds() == time.PASS_SECONDS


def test_the_published_speeds_are_possible(derive: ModuleType) -> None:
    rows = derive.measured()
    assert len(rows) > 70
    assert all(0.02 < row.share < 0.75 for row in rows)  # a sparse peak or a wrong count of tokens would leave this


def test_published_speeds_of_the_trainer_lie_within_the_range(derive: ModuleType) -> None:
    """The plan of each published run, with its passes, holds the speed that was published, nearly always."""
    models = derive.read_yaml(derive.HERE / "published_memory.yaml")["models"]
    held = []
    for row in derive.measured():
        if not row.group["trainer"]:
            continue
        gpu = gpu_models()[row.group["gpu"]]
        flops = row.share * row.seconds * gpu.flops["bf16"]
        passes = 3 * models[row.model]["num_hidden_layers"]
        efficiency = published_efficiency(gpu, row.group["quantized"] is not None)
        found = seconds(Work(flops, layer_passes=passes), Gpus(gpu), "bf16", efficiency)
        assert found is not None
        held.append(found.low <= row.seconds <= found.high)
    assert sum(held) / len(held) > 0.85


@pytest.mark.parametrize("is_quantized", [False, True])
def test_on_an_a100_the_published_shares_stand_as_they_are(is_quantized: bool) -> None:
    found = published_efficiency(gpu_models()["a100-80gb"], is_quantized)
    assert (found.low, found.mid, found.high) == time.PUBLISHED[is_quantized]
    assert found.runs == 0 and ("4-bit" in found.why) == is_quantized


def test_a_gpu_that_outruns_its_memory_reaches_less_of_its_peak() -> None:
    models = gpu_models()
    assert relative(models["a100-80gb"]) == 1
    assert relative(models["h100"]) == pytest.approx(0.55, abs=0.03)  # 0.49 to 0.65 in the same program as on an A100
    for model in models.values():
        assert 0 < relative(model) <= 1
        assert (relative(model) < 1) == (ridge(model) > ridge(models["a100-80gb"]))


def test_the_tables_in_the_docs_are_those_of_the_script(derive: ModuleType) -> None:
    text = (ROOT / "docs/planner.md").read_text(encoding="utf-8")
    assert derive.table() in text
    assert derive.example() in text
    for quantized in (None, 4):
        low, mid, high = derive.shares(quantized)
        assert re.search(rf"\| {quantized or 16}-bit \| {low:g} \| {mid:g} \| {high:g} \|", text)
