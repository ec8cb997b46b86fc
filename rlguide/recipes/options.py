"""What a person asked for on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """What a person asked for on the command line. None: choose well."""

    sft_ckpt: str = "latest"
    reward_model: str | None = None
    from_run: str | None = None  # another round on top of this run, instead of `sft_ckpt`
    method: str = "dpo"
    loss: str | None = None
    datasets: tuple[str, ...] = ()
    base: str | None = None
    template: str | None = None
    output_dir: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    trust_base: bool = False
