"""How much memory there was, and how much was asked for, when it ran out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

_UNITS = {"byte": 1, "bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "KB": 2**10, "MB": 2**20, "GB": 2**30}
_SIZE = rf"(\d{{1,15}}(?:\.\d{{1,9}})?) ({'|'.join(_UNITS)})\b"
# As torch writes it (c10/cuda/CUDACachingAllocator.cpp and c10/core/impl/alloc_cpu.cpp of 2.11), then torch_npu, which
# has torch 1's words: "(NPU 0; 29.50 GiB total capacity; 26.10 GiB already allocated; 1.20 GiB free; ..."; MPS has its
# own (ATen/mps/MPSAllocator.mm), with GB for 2^30 bytes.
_PATTERNS = {
    "tried": (rf"[Tt]ried to allocate {_SIZE}",),
    "total": (rf"total capacity of {_SIZE}", rf"{_SIZE} total capacity", rf"max allowed: {_SIZE}"),
    "free": (rf"of which {_SIZE} is free", rf"{_SIZE} free"),
    "allocated": (
        *(rf"{_SIZE} is allocated by PyTorch", rf"{_SIZE} already allocated", rf"MPS allocated: {_SIZE}"),
        rf"this process has {_SIZE} memory in use",
    ),
    "unallocated": (rf"{_SIZE} is reserved by PyTorch but unallocated",),
}
_OTHERS = re.compile(rf"\bProcess \d{{1,20}} has {_SIZE} memory in use")


@dataclass(frozen=True)
class Figures:
    """Bytes on one device when memory ran out; None where nothing says it.

    Attributes:
        tried: what was asked for in vain.
        total: what the device has.
        free: what was free on it.
        allocated: what tensors of the process held.
        unallocated: what its allocator kept, in pieces between tensors.
        others: what other processes held.
        peak: the most that tensors, or on a CPU the process, ever held.
    """

    tried: int | None = None
    total: int | None = None
    free: int | None = None
    allocated: int | None = None
    unallocated: int | None = None
    others: int | None = None
    peak: int | None = None

    @property
    def available(self) -> int | None:
        """What the device had for this process, which was too little; None if it is not known."""
        return None if self.total is None else max(0, self.total - (self.others or 0))

    @property
    def is_scattered(self) -> bool | None:
        """Whether what was asked for would have fitted, had the free memory been in one piece; None: not known."""
        if self.tried is None or self.unallocated is None:
            return None
        return self.unallocated + (self.free or 0) >= self.tried

    def known(self) -> dict[str, int]:
        """What is known, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def figures_of(message: str, told: Mapping[str, Any] | None = None) -> Figures:
    """What an exception's message says, with what its process told of its memory, which is exact, before it.

    Args:
        message: any text; what is not known in it is skipped.
        told: bytes by the names of `Figures`; anything else in it is skipped.
    """
    found: dict[str, int] = {}
    for name, patterns in _PATTERNS.items():
        match = next((match for pattern in patterns if (match := re.search(pattern, message))), None)
        if match is not None:
            found[name] = _bytes(match)
    others = [_bytes(match) for match in _OTHERS.finditer(message)]
    if others:
        found["others"] = sum(others)
    names = {field.name for field in fields(Figures)}
    exact = {name: value for name, value in (told or {}).items() if name in names and type(value) is int and value >= 0}
    return Figures(**{**found, **exact})


def _bytes(match: re.Match[str]) -> int:
    return round(float(match[1]) * _UNITS[match[2]])
