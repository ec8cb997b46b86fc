"""The diagnosis of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlguide.runs.diagnosis.finding import Finding
from rlguide.runs.metrics import METRICS, read_metrics
from rlguide.runs.record import Run


def diagnose(config: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> list[Finding]:
    """What the figures of a run say, the gravest first.

    Args:
        config: of the training; rows: of its `metrics.jsonl`, so far.
    """
    return []


def findings_of(run: Run) -> list[Finding]:
    """What is to be said of a run as it stands, the gravest first: of its figures and of its data."""
    return diagnose(run.config, read_metrics(run.path / METRICS))
