"""The versions that work together, and what breaks beside them. The versions are rlguide's own extra `engine`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from rlguide.engine.capabilities import limitation_of, release


@dataclass(frozen=True)
class Mismatch:
    """An installed version that differs from the pin.

    Attributes:
        breaks: the harm it is known to do; None where none is known.
        is_fatal: whether nothing can be trained. With a newer trl some losses are wrong; `capabilities` says which.
    """

    name: str
    installed: str | None
    pinned: str
    breaks: str | None
    is_fatal: bool


def read_pins(*extras: str) -> dict[str, str]:
    """Distribution name to pinned version, from rlguide's metadata: those of these extras, or of `engine`."""
    return {name.partition("[")[0]: version for name, version in read_pins_with_extras(*extras).items()}


def read_pins_with_extras(*extras: str) -> dict[str, str]:
    """Like `read_pins`, each name with the extras that are wanted of it, as pip takes it: `lm_eval[hf,ifeval]`."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        lines = requires("rlguide") or []
    except PackageNotFoundError:
        return {}
    chosen = "|".join(extras or ("engine",))
    pattern = re.compile(rf"([\w.-]+(?:\[[\w,.-]+\])?)\s*==\s*([\w.+!-]+)\s*;.*extra\s*==\s*['\"](?:{chosen})['\"]")
    found = (pattern.match(line) for line in lines)
    return {match[1].replace("-", "_").lower(): match[2] for match in found if match}


def mismatches(versions: Mapping[str, str], pins: Mapping[str, str]) -> list[Mismatch]:
    """What differs from the pins in an engine with these versions, with what it is known to break.

    Each harm was measured with LLaMA-Factory 0.9.5, or is said where it stands in its sources.
    """
    found = []
    for name, pinned in pins.items():
        installed = versions.get(name)
        breaks = _import_fails(name, versions)
        if installed is None or installed.partition("+")[0] != pinned or breaks:
            limitation = None if breaks or installed is None else limitation_of(name, versions, pins)
            fatal = bool(breaks) or (limitation is not None and not limitation.is_silent)
            found.append(Mismatch(name, installed, pinned, limitation.what if limitation else breaks, fatal))
    return found


def _import_fails(name: str, versions: Mapping[str, str]) -> str | None:
    """Why the engine fails at its imports because of this distribution; None if it is not known to."""
    installed, torch = versions.get(name), versions.get("torch", "")
    if installed is None:
        # data/mm_plugin.py imports torchaudio at its top, model and train import the rest
        return f"every training fails at `import {name}`"
    if name == "torchaudio" and release(installed).release[:2] != release(torch).release[:2]:
        return f"torchaudio {installed} does not import beside torch {torch}, and every training imports it"
    if name == "torchvision" and not _vision_fits(installed, torch):
        return f"torchvision {installed} does not fit torch {torch}: operator torchvision::nms does not exist"
    return None


def _vision_fits(vision: str, torch: str) -> bool:
    """torch 2.N goes with torchvision 0.(N + 15), both from the same kind of build (their release table)."""
    first, second = release(torch), release(vision)
    if (0,) in (first.release, second.release):  # missing or unreadable
        return True
    builds = [version.partition("+")[2] for version in (torch, vision)]
    fits = first.major != 2 or (second.major, second.minor) == (0, first.minor + 15)
    return fits and ("cpu" in builds[0]) == ("cpu" in builds[1])
