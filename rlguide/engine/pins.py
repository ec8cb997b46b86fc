"""The versions that work together, and what breaks beside them. The versions are rlguide's own extra `engine`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Mismatch:
    """An installed version that differs from the pin. `breaks` is None where no harm is known."""

    name: str
    installed: str | None
    pinned: str
    breaks: str | None

    @property
    def is_fatal(self) -> bool:
        """Whether nothing can be trained. With a newer trl some losses are wrong; `capabilities` says which."""
        return self.breaks is not None and not (self.name == "trl" and numbers(self.installed or "") >= (0, 20))


def read_pins() -> dict[str, str]:
    """Distribution name to pinned version, from rlguide's metadata (pyproject.toml, extra `engine`)."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("rlguide") or []
    except PackageNotFoundError:
        return {}
    found = (re.match(r"([\w.-]+)\s*==\s*([\w.+!-]+)\s*;.*extra\s*==\s*['\"]engine['\"]", line) for line in lines)
    return {match[1].replace("-", "_").lower(): match[2] for match in found if match}


def mismatches(versions: Mapping[str, str], pins: Mapping[str, str]) -> list[Mismatch]:
    """What differs from the pins in an engine with these versions, with what it is known to break."""
    found = []
    for name, pinned in pins.items():
        installed = versions.get(name)
        if installed is None or installed.partition("+")[0] != pinned:
            found.append(Mismatch(name, installed, pinned, what_breaks(name, versions)))
        elif name in ("torchvision", "torchaudio") and (breaks := what_breaks(name, versions)):
            found.append(Mismatch(name, installed, pinned, breaks))  # pinned itself, but beside another torch
    return found


def what_breaks(name: str, versions: Mapping[str, str]) -> str | None:
    """The known harm of the installed version of one distribution among the others; None if none is known.

    Each was measured with LLaMA-Factory 0.9.5, or is said where it stands in its sources.
    """
    installed, torch = versions.get(name), versions.get("torch", "")
    if installed is None:
        # data/mm_plugin.py imports torchaudio at its top, model and train import the rest
        return f"every training fails at `import {name}`"
    if name == "torchaudio" and numbers(installed)[:2] != numbers(torch)[:2]:
        return f"torchaudio {installed} does not import beside torch {torch}, and every training imports it"
    if name == "torchvision" and not _vision_fits(installed, torch):
        return f"torchvision {installed} does not fit torch {torch}: operator torchvision::nms does not exist"
    if name == "trl" and numbers(installed) >= (0, 20):
        return "pref_loss hinge, ipo and kto_pair silently train plain sigmoid (trl 0.20 and newer)"
    if name == "trl" and numbers(installed) < (0, 18):
        return "LLaMA-Factory 0.9.5 refuses trl older than 0.18"
    if name == "transformers" and numbers(installed) >= (5,) and numbers(versions.get("trl", "0")) < (0, 20):
        return "trl 0.19 does not import beside transformers 5"
    if name == "llamafactory" and numbers(installed) < (0, 9, 4):
        return "older LLaMA-Factory has no template qwen3_nothink and other keys"
    return None


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "2.11.0+cpu" is (2, 11, 0)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _vision_fits(vision: str, torch: str) -> bool:
    """torch 2.N goes with torchvision 0.(N + 15), both from the same kind of build (their release table)."""
    first, second = numbers(torch)[:2], numbers(vision)[:2]
    if len(first) < 2 or len(second) < 2:
        return True
    builds = [version.partition("+")[2] for version in (torch, vision)]
    return (first[0] != 2 or second == (0, first[1] + 15)) and ("cpu" in builds[0]) == ("cpu" in builds[1])
