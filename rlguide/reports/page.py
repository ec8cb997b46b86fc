"""Put the report of a run together and write it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rlguide import __version__
from rlguide.catalog.diagnosis import diagnosis_rules
from rlguide.errors import UsageError
from rlguide.evaluation.divergence import FAR, LIMIT
from rlguide.evaluation.lines import KL_PER_RESPONSE, Line
from rlguide.html.charts import LAST
from rlguide.html.render import render
from rlguide.reports.datasets import data_of
from rlguide.reports.evaluated import Evaluated, read_evaluated
from rlguide.reports.figures import charts_of, ends_of, tiles_of
from rlguide.reports.samples import responses_of, worst_of
from rlguide.reports.settings import settings_of
from rlguide.runs.best import best_step
from rlguide.runs.checkpoints import steps_done
from rlguide.runs.diagnosis.diagnose import findings_of
from rlguide.runs.diagnosis.finding import Finding
from rlguide.runs.metrics import METRICS, read_metrics
from rlguide.runs.record import Run
from rlguide.runs.report import report
from rlguide.runs.verdict import Verdict, verdict_of
from rlguide.workspace import Workspace, atomic_write

REPORT = "report.html"
_MARK = b'<meta name="generator" content="rlguide">'  # by which a page of rlguide is known
_REWARDS = {"rewards/chosen", "rewards/rejected"}
_LEVELS = {"error": "bad", "warning": "unclear"}  # of findings, as the stylesheet names them


def write_report(ws: Workspace, run: Run, path: Path | None = None, language: str = "en") -> Path:
    """Write the report of a run; returns the file, `<run>/report.html` by default.

    Args:
        language: "en" or "zh".

    Raises:
        UsageError: there is something else than a page of rlguide.
        RlguideError: it cannot be written.
    """
    chosen = path or run.path / REPORT
    check_own(chosen)
    page = report_page(ws, run, language).encode("utf-8", "replace")
    with atomic_write(chosen, "wb") as file:
        file.write(page)
    return chosen


def check_own(path: Path) -> None:
    """Refuse to replace a file that is no page of rlguide. Raises UsageError."""
    if not path.is_file():  # nothing, or what writing refuses
        return
    try:
        with path.open("rb") as file:
            is_own = _MARK in file.read(4096)
    except OSError:  # writing says why
        return
    if not is_own:
        raise UsageError(f"{path} is there already, and is no report", "name another file with --output")


def report_page(ws: Workspace, run: Run, language: str = "en") -> str:
    """The page, from the files of the run as they are now."""
    rows = [row for row in read_metrics(run.path / METRICS) if 0 <= row["step"] < LAST]
    values, evaluated, best = report(run), read_evaluated(run.path), best_step(run)
    done = steps_done(run.path) or max((row["step"] for row in rows), default=None)
    return render(
        "report.html",
        language,
        title=run.name,
        run=run,
        state=run.status,
        version=__version__,
        now=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        created=_time(run.record.created),
        steps=done,
        failure=_text((run.record.failure or {}).get("what")),
        verdict=_beside_kl(verdict_of(run), evaluated),
        tiles=tiles_of(run, rows, evaluated, best, done),
        findings=[(_LEVELS.get(finding.level, "note"), _title(finding), finding) for finding in findings_of(run)],
        checks=_checks(values),
        values=values,
        charts=charts_of(rows),
        has_rewards=any(row.keys() >= _REWARDS for row in rows),
        ends=ends_of(rows),
        evaluated=evaluated,
        lines=[(line, *_drawn(line)) for line in evaluated.lines] if evaluated else [],
        responses=responses_of(run),
        worst=worst_of(run),
        settings=settings_of(run),
        data=data_of(ws, run),
        surroundings=_surroundings(run),
        quoted=shlex.quote(run.name),
    )


def _beside_kl(verdict: Verdict, evaluated: Evaluated | None) -> Verdict:
    """The verdict, which is not good of a policy that is farther from its parent than held-out pairs can vouch for."""
    lines = evaluated.lines if evaluated else ()
    is_far = any(line.name == KL_PER_RESPONSE and line.tuned > LIMIT for line in lines)
    if verdict.level != "good" or not is_far:
        return verdict
    return replace(verdict, level="unclear", more=(FAR, *verdict.more))


def _title(finding: Finding) -> str:
    """What is wrong, in a few words."""
    rule = diagnosis_rules().get(finding.rule)
    return rule.title if rule is not None else finding.rule


def _checks(values: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """What the first step showed, or how the losses went: whether that is as it must be, and the sentence."""
    found = [values[key] for key in ("start_check", "course") if isinstance(values.get(key), dict)]
    return [(check.get("ok") is True, _text(check.get("message"))) for check in found if check.get("message")]


def _drawn(line: Line) -> tuple[str, dict[str, float] | None]:
    """Whether a figure went "up" (better), "down" or neither, and its interval in a box of 100 by 10 around 0."""
    mark = {True: "up", False: "down", None: ""}[line.is_better]
    found = line.difference
    reach = max(abs(found.low), abs(found.high))
    if not line.interval or not 0 < reach < 1e300:
        return mark, None
    low, value, high = (round(50 + 46 * end / reach, 1) for end in (found.low, found.value, found.high))
    return mark, {"low": low, "value": value, "high": high}


def _surroundings(run: Run) -> list[tuple[str, str]]:
    """What was recorded of the command, the host and its versions, flat, as (name, text)."""
    recorded = run.record.surroundings
    found: list[tuple[str, str]] = []
    for name, value in (recorded or {}).items():
        if name == "command" and isinstance(value, list):
            found.append((name, shlex.join(map(str, value))))
        elif isinstance(value, dict):
            found += [(f"{name}: {key}", str(inner)) for key, inner in value.items() if _is_plain(inner)]
        elif isinstance(value, list):
            found.append((name, ", ".join(map(str, value)) or "-"))
        elif _is_plain(value):
            found.append((name, str(value)))
    return found


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and value != ""


def _time(text: str | None) -> str:
    """A time as recorded, without seconds, where it is one."""
    try:
        return datetime.fromisoformat(text or "").astimezone().strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return ""


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
