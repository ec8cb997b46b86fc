"""What was found in a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes:
        rule: its name in catalog/diagnosis.yaml.
        level: "error" where the result is not what was asked for, "warning", or "note".
        step: where it was seen; None of the whole run or its data.
        seen: what was seen, with its values; means: what that most likely means.
        fix: what to change, in words; command: the same as a line to paste, "" where there is none.
        source: of the threshold.
    """

    rule: str
    level: str
    step: int | None
    seen: str
    means: str
    fix: str
    command: str
    source: str


def finding_lines(finding: Finding) -> list[str]:
    """A finding as lines of text: what was seen and what it means, then what to change."""
    return [
        f"{finding.level.upper()} {finding.rule}: {finding.seen}",
        f"  {finding.means}",
        f"  fix: {finding.fix}" + (f": `{finding.command}`" if finding.command else ""),
        f"  source: {finding.source}",
    ]
