"""The best step of a run: that of the lowest held-out loss."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlguide.runs.record import Run


@dataclass(frozen=True)
class Best:
    """The best step.

    Attributes:
        step: of optimizer steps; value: its `metric`, a key of `metrics.jsonl`.
        folder: its checkpoint, where that was kept; the run's own folder where it is the last step.
    """

    step: int
    metric: str
    value: float
    folder: Path | None


def best_step(run: Run) -> Best | None:
    """The best step of a run; None where nothing was held out."""
    return None
