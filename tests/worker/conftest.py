"""The worker's modules, imported as its scripts import each other; they need the engine's torch."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

WORKER = str(Path(__file__).resolve().parents[2] / "rlguide_worker")


def worker_module(name: str) -> ModuleType:
    """A module of rlguide_worker."""
    if WORKER not in sys.path:
        sys.path.insert(0, WORKER)
    return importlib.import_module(name)


@pytest.fixture(scope="session")
def torch() -> Any:
    """The engine's torch, on two threads as on the smallest machine."""
    return importlib.import_module("torch")


@pytest.fixture(scope="session")
def lazy_logits() -> Any:
    """rlguide_worker/lazy_logits.py."""
    return worker_module("lazy_logits")


@pytest.fixture(scope="session")
def reference_once() -> Any:
    """rlguide_worker/reference_once.py."""
    return worker_module("reference_once")


@pytest.fixture(scope="session")
def recompute() -> Any:
    """rlguide_worker/recompute.py."""
    return worker_module("recompute")


@pytest.fixture(scope="session")
def free_memory() -> Any:
    """rlguide_worker/free_memory.py."""
    return worker_module("free_memory")


@pytest.fixture(scope="session")
def lean() -> Any:
    """rlguide_worker/lean.py."""
    return worker_module("lean")
