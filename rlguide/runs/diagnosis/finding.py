"""What was found in a run."""

from __future__ import annotations

from collections.abc import Iterable
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


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Findings as lines of text: what was seen and what it means, then what to change."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.level.upper()} {finding.rule}: {finding.seen}")
        lines.append(f"  {finding.means}")
        lines.append(f"  fix: {finding.fix}" + (f": `{finding.command}`" if finding.command else ""))
        lines.append(f"  source: {finding.source}")
    return lines
