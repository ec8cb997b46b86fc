"""The table of GPUs holds together, and GPUs are found however they are named."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.catalog.gpus import GpuModel, detected, find_gpu_model, gpu_models, parse_gpus
from rlguide.engine.hardware import Gpu, parse_nvidia_smi
from rlguide.errors import UsageError

NAMES = [(name, model) for model in gpu_models().values() for name in (model.name, *model.names)]
GEFORCE = [model for model in gpu_models().values() if model.names[0].startswith("NVIDIA GeForce")]


@pytest.mark.parametrize(("name", "model"), NAMES, ids=[name for name, _ in NAMES])
def test_each_name_finds_its_own_gpu(name: str, model: GpuModel) -> None:
    assert find_gpu_model(name) is model
    assert find_gpu_model(name.lower().replace(" ", "-")) is model
    assert find_gpu_model(name.upper().replace(" ", "")) is model


@given(
    named=st.sampled_from(NAMES),
    count=st.integers(1, 64),
    mark=st.sampled_from("x*X"),
    space=st.sampled_from(["", " "]),
)
def test_a_count_stands_before_or_after(named: tuple[str, GpuModel], count: int, mark: str, space: str) -> None:
    name, model = named
    for text in (f"{count}{space}{mark}{space}{name}", f"{name}{space}{mark}{space}{count}"):
        found = parse_gpus(text)
        assert (found.model, found.count) == (model, count)


@pytest.mark.parametrize(
    ("text", "count", "gib"),
    [
        ("2xA6000:40", 2, 40),
        ("4090:48GB", 1, 48),
        ("a6000x2:23.5", 2, 23.5),
        ("24GB", 1, 24),
        ("2x24gb", 2, 24),
        ("4*16GiB", 4, 16),
    ],
)
def test_memory_can_be_given(text: str, count: int, gib: float) -> None:
    found = parse_gpus(text)
    assert (found.count, found.model.memory_bytes) == (count, gib * 2**30)


def test_of_a_gpu_that_is_only_memory_no_speed_is_known() -> None:
    assert parse_gpus("24GB").model.peak("bf16") is None
    assert parse_gpus("2xA6000:40").model.peak("bf16") == 154.8e12


@pytest.mark.parametrize(
    "text", ["", "x", "0xA6000", "99999xA6000", "2xA600", "h1000", "2xA6000:", "2xA6000:no", "A6000:0", "0GB", "24"]
)
def test_what_is_no_gpu_is_said_with_a_fix_that_works(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_gpus(text)
    for example in re.findall(r"\b(?:\d+x\w+(?::\d+)?|4090)\b", error.value.fix):
        assert parse_gpus(example).count


@given(st.text(max_size=40))
def test_any_text_is_a_gpu_or_a_usage_error(text: str) -> None:
    try:
        assert parse_gpus(text).model.memory_bytes > 0
    except UsageError:
        pass


@pytest.mark.parametrize(("text", "meant"), [("2xA600", "A6000"), ("RTX4O90", "RTX 4090"), ("h10O-pcie", "H100 PCIe")])
def test_a_slip_is_met_with_the_name_that_was_meant(text: str, meant: str) -> None:
    with pytest.raises(UsageError, match=rf"did you mean {meant}\?"):
        parse_gpus(text)


@pytest.mark.parametrize("model", gpu_models().values(), ids=gpu_models())
def test_figures_are_dense_and_of_the_right_size(model: GpuModel) -> None:
    nominal = float(re.search(r"(\d+) GB", model.title)[1])  # type: ignore[index]
    assert 0.93 < model.memory_bytes / 2**30 / nominal <= 1.001
    assert model.flops["fp16"] == model.flops.get("bf16", model.flops["fp16"])
    assert ("bf16" in model.flops) == (model.capability is None or model.capability >= (8, 0))
    if "tf32" in model.flops:  # half the rate of bf16, in every one of these architectures
        assert model.flops["tf32"] == pytest.approx(model.flops["bf16"] / 2, rel=0.02)
    assert model.flops["fp16"] / model.flops["fp32"] < 17  # A100: 16; a figure with sparsity would be twice that
    assert (
        20 < model.flops["fp16"] / model.bandwidth < 450
    )  # operations for each byte; 10^9 and 2^30 mixed up leave this
    assert 0.1e12 < model.flops["fp16"] / model.watts < 3e12
    assert model.source and re.search(r"https://|no public data sheet", model.source)


@pytest.mark.parametrize("model", GEFORCE, ids=[model.name for model in GEFORCE])
def test_geforce_counts_at_half_the_advertised_rate(model: GpuModel) -> None:
    assert model.flops["bf16"] == pytest.approx(2 * model.flops["fp32"], rel=0.005)


def test_types_have_their_long_names() -> None:
    model = gpu_models()["a6000"]
    assert model.peak("torch.bfloat16") == model.peak("bfloat16") == model.peak("bf16") == 154.8e12
    assert model.peak("float32") == 38.7e12
    assert model.peak("int3") is None
    assert gpu_models()["t4"].peak("bf16") is None


def test_this_host_is_the_least_of_its_gpus_with_the_memory_it_reports() -> None:
    assert detected([]) is None
    two = detected(
        parse_nvidia_smi("0, NVIDIA RTX A6000, 49140, 48000, 8.6\n1, NVIDIA GeForce RTX 4090, 24564, 24000, 8.9")
    )
    assert two is not None and (two.model.name, two.count, two.model.memory_bytes) == ("4090", 2, 24564 << 20)
    modified = detected([Gpu(0, "NVIDIA GeForce RTX 4090", 49140 << 20, 0, (8, 9))])
    assert modified is not None and modified.model.memory_bytes == 49140 << 20
    laptop = detected([Gpu(0, "NVIDIA GeForce RTX 4090 Laptop GPU", 16376 << 20, 0, (8, 9))])
    assert laptop is not None and laptop.model.peak("bf16") is None and laptop.model.memory_bytes == 16376 << 20
