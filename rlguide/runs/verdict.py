"""What a training came to, in a sentence or two: what was learnt on held-out data, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from rlguide.runs.record import Run


@dataclass(frozen=True)
class Verdict:
    """The verdict.

    Attributes:
        level: "good", "unclear", "bad" or "unknown" (nothing was held out).
        text: a sentence, with interval and size; more: further sentences.
    """

    level: str
    text: str
    more: tuple[str, ...] = ()


def verdict_of(run: Run) -> Verdict:
    """The verdict on a run, from its evaluation during training, or from `rlguide eval` where that was run."""
    return Verdict("unknown", "nothing was held out, so that nothing is known of what was learnt")
