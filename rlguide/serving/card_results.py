"""What a model card says of the evaluation of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlguide.errors import DataError
from rlguide.policy.checkpoint import locate
from rlguide.policy.policy import Policy
from rlguide.policy.run_record import CHECKPOINT_NAME
from rlguide.runs.checkpoints import step_of, steps_done
from rlguide.runs.record import EVALUATED, Run
from rlguide.serving.on_record import escaped
from rlguide.statistics import finite, read_estimate
from rlguide.workspace import Workspace, read_json

SUITE = "suite.json"


def results(ws: Workspace, policy: Policy, run: Run | None) -> list[str]:
    """The results of the last evaluation of the run, as far as they are of the very model that was merged."""
    lines = ["## Results", ""]
    found = _evaluated(run)
    if not found:
        return [*lines, "Not evaluated.", ""]
    if other := _other_step(ws, policy, run, found):
        return [*lines, f"Not evaluated: the results on record are of {other}.", ""]
    accuracy, margin = read_estimate(found.get("accuracy")), read_estimate(found.get("margin"))
    if accuracy is not None:
        of = f"{accuracy.n:,} held-out pairs"
        lines.append(
            f"- accuracy on {of}: {accuracy.value:.3f} (95 % interval {accuracy.low:.3f} to {accuracy.high:.3f})"
        )
    if margin is not None:
        lines.append(f"- margin: {margin.value:+.3f} (95 % interval {margin.low:+.3f} to {margin.high:+.3f})")
    for row in found["table"] if isinstance(found.get("table"), list) else ():
        lines += _line(row)
    verdict = found.get("summary") or found.get("verdict")
    if isinstance(verdict, str) and verdict:
        lines.append(f"- verdict: {escaped(verdict)}")
    step = found.get("step")
    if type(step) is int:
        lines.append(f"- evaluated at step {step} of the run, adapters beside the weights (`rlguide eval`)")
    return [*lines, ""] if len(lines) > 2 else [*lines, "Not evaluated.", ""]


def _evaluated(run: Run | None) -> dict[str, Any]:
    """What the last evaluation of the run found; {} where there was none."""
    for name in (SUITE, EVALUATED.name) if run is not None else ():
        assert run is not None
        try:
            values = read_json(run.path / "eval" / name)
        except DataError:
            continue
        if isinstance(values, dict):
            return values
    return {}


def _other_step(ws: Workspace, policy: Policy, run: Run | None, found: Mapping[str, Any]) -> str:
    """What was evaluated of the run, if that is not the model that was merged; "" if it is, or nothing says."""
    step, what = found.get("step"), found.get("policy")
    if run is None or not policy.adapters:
        return ""
    top = locate(ws, policy.adapters[-1])
    own = step_of(top) if CHECKPOINT_NAME.fullmatch(top.name) else steps_done(top)
    if type(step) is int and own is not None:
        return f"step {step} of the run" if step != own else ""
    is_other = isinstance(what, str) and what != policy.describe()
    return escaped(what.rpartition(" + ")[2]) if is_other and isinstance(what, str) else ""


def _line(row: Any) -> list[str]:
    """A figure of a suite: of the parent, of the tuned model, their difference."""
    if not isinstance(row, Mapping):
        return []
    difference = read_estimate(row.get("difference"))
    parent, tuned = finite(row.get("parent")), finite(row.get("tuned"))
    if difference is None or parent is None or tuned is None or not isinstance(row.get("name"), str):
        return []
    return [
        f"- {escaped(row['name'])}: {parent:.3f} before, {tuned:.3f} after; difference {difference.value:+.3f} "
        f"(95 % interval {difference.low:+.3f} to {difference.high:+.3f}, n = {difference.n:,})"
    ]
