"""Stop a training because of what its figures show (`--stop-on` of `rlguide train`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rlguide.catalog.diagnosis import diagnosis_rules
from rlguide.errors import EngineError, UsageError, did_you_mean
from rlguide.policy.run_state import resume_command
from rlguide.runs.checkpoints import put_aside_after
from rlguide.runs.diagnosis.diagnose import LOOK_AGAIN, diagnose
from rlguide.runs.diagnosis.facts import facts_of
from rlguide.runs.diagnosis.finding import Finding
from rlguide.runs.record import Run
from rlguide.workspace import atomic_write

DEFAULT = ("nan",)
NONE = "none"
EXIT_CODE = 3  # of rlguide, and of its worker (`rlguide_worker/stop_asked.py`)
REQUEST = ".stop.json"  # its name for what asks it to stop
_LOST = ("nan",)  # what leaves weights that are not worth a checkpoint


class StoppedByRule(EngineError):
    """A training was stopped because of what its figures show (exit code 3)."""

    exit_code = EXIT_CODE


def parse_rules(text: str) -> tuple[str, ...]:
    """The rules named in "RULE,RULE" or "none". Raises UsageError for a name that there is not."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    known = diagnosis_rules()
    if names == (NONE,):
        return ()
    if NONE in names:
        rules = ",".join(name for name in names if name != NONE)
        raise UsageError(f"--stop-on: {NONE} stands alone", f"--stop-on {NONE}, or --stop-on {rules}")
    for name in names:
        if name not in known:
            near = did_you_mean(name, [*known, NONE])
            raise UsageError(f"--stop-on: no rule {name}{near}", f"choose one of {', '.join(known)}, or {NONE}")
    return names


class StopOn:
    """Looks at each log of a run, and asks its worker to stop when a rule finds something.

    What a rule finds in the logs from before a resume does not stop the run again: its user knows it, and resumed.

    Attributes:
        finding: what stopped it.
    """

    def __init__(self, run: Run, rules: Sequence[str], rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self._run, self._rows, self._next = run, list(rows), 0.0
        self.finding: Finding | None = None
        (run.path / REQUEST).unlink(missing_ok=True)
        known = {finding.rule for finding in self._diagnose(rules)} if rows and rules else set()
        self._rules = tuple(rule for rule in rules if rule not in known)

    def see(self, row: Mapping[str, Any]) -> Finding | None:
        """Look at one more log; what stops the run, once."""
        self._rows.append(row)
        if self.finding is not None or not self._rules:
            return None
        due = len(self._rows) >= self._next
        found = self._diagnose(self._rules) if due else self._diagnose(self._lost, self._rows[-3:])
        if due:
            self._next = len(self._rows) * LOOK_AGAIN
        if not found:
            return None
        self.finding = found[0]
        ask_to_stop(self._run, self.finding.rule not in _LOST)
        return self.finding

    def is_stopped_by(self, exit_code: int) -> bool:
        """Whether it ended with this code because it was asked to save and end (`ask_to_stop`), by no rule."""
        if exit_code != EXIT_CODE or self.finding is not None or not (self._run.path / REQUEST).exists():
            return False
        (self._run.path / REQUEST).unlink(missing_ok=True)
        return True

    @property
    def _lost(self) -> tuple[str, ...]:
        """Rules on a single row, which need no other and cannot wait."""
        return tuple(rule for rule in self._rules if rule in _LOST)

    def _diagnose(self, rules: Sequence[str], rows: Sequence[Mapping[str, Any]] | None = None) -> list[Finding]:
        given = self._rows if rows is None else rows
        return diagnose(self._run.config, given, facts_of(self._run), rules) if rules else []

    def settle(self) -> StoppedByRule | None:
        """Write the record of a run that was stopped so; the error that says why. None if nothing stopped it."""
        (self._run.path / REQUEST).unlink(missing_ok=True)
        if self.finding is None:
            return None
        finding, run = self.finding, self._run
        if finding.rule in _LOST and finding.step is not None:
            sound = [row["step"] for row in self._rows if "loss" in row and row["step"] < finding.step]
            put_aside_after(run.path, max(sound, default=0))
        what = f"{run.name} was stopped by rule {finding.rule}: {finding.seen}"
        run.over("interrupted", failure={"what": what, "exit_code": EXIT_CODE, "rule": finding.rule})
        return StoppedByRule(what, _way_on(run, finding))


def ask_to_stop(run: Run, save: bool = True) -> None:
    """Ask the worker of a run to end after the step that is being done, and to `save` it as a checkpoint."""
    with atomic_write(run.path / REQUEST) as file:
        file.write(json.dumps({"save": save}))


def way_on(run: Run, findings: Sequence[Finding]) -> str:
    """What can be done with a run that did not come to its end; of one that a rule stopped, what the rule says.

    Args:
        findings: of the run, as it stands.
    """
    rule = (run.record.failure or {}).get("rule") if run.status == "interrupted" else None
    finding = next((finding for finding in findings if finding.rule == rule), None)
    return run.next_step if finding is None else _way_on(run, finding)


def _way_on(run: Run, finding: Finding) -> str:
    again = f"`{finding.command}`; or " if finding.command else ""
    others = f" --stop-on {NONE}" if finding.rule in _LOST else ""
    resume = f"resume all the same: `{resume_command(run.name)}{others}`"
    if run.method is not None and run.method.not_resumable:
        resume = f"its weights are in {run.name}"
    return f"{finding.fix}: {again}{resume}"
