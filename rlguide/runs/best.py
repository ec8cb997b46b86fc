"""The best step of a run, by the rule of its config (`catalog.best_by`), and which step of a run is meant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rlguide.catalog.best_by import rule_of
from rlguide.errors import CheckpointError, UsageError
from rlguide.policy.checkpoint import read_checkpoint
from rlguide.runs.checkpoints import list_checkpoints, step_of, steps_done
from rlguide.runs.metrics import METRICS, read_metrics
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


@dataclass(frozen=True)
class Meant:
    """A step of a run.

    Attributes:
        folder: its checkpoint, or the run's own folder.
        words: which it is, and why: "60 of 162, the best by held-out loss".
    """

    step: int | None
    folder: Path
    words: str


def best_step(run: Run) -> Best | None:
    """The best step of a run; None where nothing was held out. The first one of equals."""
    rule = rule_of(run.config)
    found = [(row[rule.metric], row["step"]) for row in read_metrics(run.path / METRICS) if rule.metric in row]
    found = [(value, step) for value, step in found if step > 0]  # `eval_on_start` is not of anything trained
    if not found:
        return None
    value, step = min(found, key=lambda item: (-item[0] if rule.is_greater else item[0], item[1]))
    return Best(step, rule.metric, value, _folder_of(run, step))


def _folder_of(run: Run, step: int) -> Path | None:
    if run.status == "finished" and (run.config.get("load_best_model_at_end") or step == steps_done(run.path)):
        return run.path
    return loadable_steps(run).get(step)


def loadable_steps(run: Run) -> dict[int, Path]:
    """The checkpoints of a run whose weights are whole, by step."""
    return {step_of(path): path for path in list_checkpoints(run.path) if _is_loadable(path)}


def _is_loadable(path: Path) -> bool:
    try:
        read_checkpoint(path)
    except CheckpointError:
        return False
    return True


def step_meant(run: Run, step: int | None = None, last: bool = False) -> Meant:
    """Which step of a run is meant: the one that is named, or its best one, or the last where that is asked for.

    The last one is the run itself, and of an unfinished run its newest checkpoint.

    Raises:
        UsageError: there is no such step, or no checkpoint yet.
    """
    if step is not None and last:
        raise UsageError("--step and --last are two steps", "give one of them")
    end = _last(run)
    if step is not None:
        return Meant(step, _named(run, step, end), f"{step}{_of_all(run)}")
    if end is None:
        raise UsageError(f"{run.name} has no checkpoint yet", run.next_step)
    best = None if last else best_step(run)
    if best is None:
        return end
    rule, value = rule_of(run.config).words, f"{best.value:.4f}"
    if best.folder == end.folder:
        words = f"{end.words}, and" if best.step == end.step else f"{best.step}{_of_all(run)},"  # it was loaded
        return replace(end, step=best.step, words=f"{words} the best by {rule} ({value})")
    if best.folder is None:
        return replace(end, words=f"{end.words}; the best by {rule}, step {best.step} ({value}), was not kept")
    at_end = _value_at(run, best.metric, end.step)
    then = "" if at_end is None else f"; {at_end:.4f} at step {end.step}"
    words = f"{best.step}{_of_all(run)}, the best by {rule} ({value}{then}); the last one: --last"
    return Meant(best.step, best.folder, words)


def at_step(run: Run, meant: Meant) -> Run:
    """The run as it is at a step: its policy is that of the checkpoint."""
    return replace(run, checkpoint="" if meant.folder == run.path else meant.folder.name)


def evaluated_step(run: Run) -> int | None:
    """The step that the policy of a run is of, by `at_step` or at its end."""
    return step_of(run.path / run.checkpoint) if run.checkpoint else steps_done(run.path)


def _last(run: Run) -> Meant | None:
    """The end of a run, its newest checkpoint if it has not come to an end, None if it has none."""
    if run.status == "finished":
        done = steps_done(run.path)
        return Meant(done, run.path, "the last" if done is None else f"{done}, the last")
    known = loadable_steps(run)
    if not known:
        return None
    step = max(known)
    return Meant(step, known[step], f"{step}{_of_all(run)}, the last checkpoint")


def _named(run: Run, step: int, end: Meant | None) -> Path:
    if end is not None and step == end.step:
        return end.folder
    known = loadable_steps(run)
    if step in known:
        return known[step]
    ends = {end.step} if end is not None and end.step is not None else set()
    steps = ", ".join(map(str, sorted({*known, *ends})))
    fix = f"choose one of its steps: {steps}" if steps else "leave --step out"
    raise UsageError(f"{run.name} has no checkpoint of step {step}", fix)


def _of_all(run: Run) -> str:
    total = steps_done(run.path) if run.status == "finished" else run.record.total_steps
    return f" of {total}" if total else ""


def _value_at(run: Run, metric: str, step: int | None) -> float | None:
    rows = read_metrics(run.path / METRICS)
    return next((float(row[metric]) for row in rows if row["step"] == step and metric in row), None)
