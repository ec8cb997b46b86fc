"""The figures in what torch says when memory runs out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.engine.out_of_memory import Figures, figures_of

SIZES = st.integers(1, 1 << 42)


def shown(size: int) -> str:
    """A size as torch writes it (c10/cuda/CUDACachingAllocator.cpp, format_size)."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size > factor:
            return f"{size / factor:.2f} {unit}"
    return f"{size} bytes"


@given(SIZES, SIZES, SIZES, SIZES, SIZES, st.lists(SIZES, max_size=3))
def test_what_torch_writes_is_read_back(
    tried: int, total: int, free: int, allocated: int, unallocated: int, others: list[int]
) -> None:
    processes = "".join(f"Process {pid + 7} has {shown(size)} memory in use. " for pid, size in enumerate(others))
    text = (
        f"CUDA out of memory. Tried to allocate {shown(tried)}. GPU 0 has a total capacity of {shown(total)} of which"
        f" {shown(free)} is free. {processes}Including non-PyTorch memory, this process has {shown(allocated + 5)}"
        f" memory in use. Of the allocated memory {shown(allocated)} is allocated by PyTorch, and {shown(unallocated)}"
        " is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting"
        " PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
    )
    found = figures_of(text)
    written = {"tried": tried, "total": total, "free": free, "allocated": allocated, "unallocated": unallocated}
    written |= {"others": sum(others)} if others else {}
    assert found.known().keys() == written.keys()
    for name, size in written.items():
        assert found.known()[name] == pytest.approx(size, rel=0.006), name


@given(st.text(), st.dictionaries(st.text(), st.integers() | st.text() | st.none() | st.floats()))
def test_any_text_is_survived(text: str, told: dict[str, object]) -> None:
    figures_of(text, told)
    assert figures_of(f"Tried to allocate {'9' * 5000} GiB {text}", told).known().get("tried", 0) >= 0


@pytest.mark.parametrize(
    ("text", "figures"),
    [
        (
            "NPU out of memory. Tried to allocate 2.00 GiB (NPU 0; 29.50 GiB total capacity; 26.00 GiB already"
            " allocated; 26.00 GiB current active; 1.25 GiB free; 27.00 GiB reserved in total by PyTorch)",
            Figures(2 << 30, 59 << 29, 5 << 28, 26 << 30),
        ),
        (
            "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
            " allocate 137438953472 bytes. Error code 12 (Cannot allocate memory)",
            Figures(tried=1 << 37),
        ),
        (
            "MPS backend out of memory (MPS allocated: 17.00 GB, other allocations: 640 KB, max allowed: 18.00 GB)."
            " Tried to allocate 256 bytes on shared pool.",
            Figures(tried=256, total=18 << 30, allocated=17 << 30),
        ),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", Figures()),
    ],
)
def test_other_devices(text: str, figures: Figures) -> None:
    assert figures_of(text) == figures


def test_what_the_process_told_is_exact() -> None:
    found = figures_of("Tried to allocate 2.32 GiB.", {"allocated": 7, "peak": 9, "device": "x", "tried": "no"})
    assert found == Figures(tried=round(2.32 * 2**30), allocated=7, peak=9)


@pytest.mark.parametrize(
    ("figures", "available"),
    [(Figures(total=100, free=10), 100), (Figures(total=100, others=15), 85), (Figures(free=10, others=1), None)],
)
def test_what_the_device_had_for_the_process(figures: Figures, available: int | None) -> None:
    assert figures.available == available


@pytest.mark.parametrize(
    ("tried", "free", "unallocated", "is_scattered"),
    [(100, 60, 50, True), (100, 40, 50, False), (100, None, 100, True), (None, 1, 1, None), (1, 1, None, None)],
)
def test_memory_that_is_free_in_pieces(
    tried: int | None, free: int | None, unallocated: int | None, is_scattered: bool | None
) -> None:
    assert Figures(tried=tried, free=free, unallocated=unallocated).is_scattered is is_scattered
