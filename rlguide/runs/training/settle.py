"""Write the record of a run that ended, and say how one that was stopped is resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rlguide.console import say
from rlguide.errors import RlguideError
from rlguide.policy.run_state import resume_command
from rlguide.runs.checkpoints import last_checkpoint, step_of
from rlguide.runs.diagnosis.first_step import StartCheck, check_start, first_loss
from rlguide.runs.metrics import settle_metrics, summarize
from rlguide.runs.plots import plot_run
from rlguide.runs.record import Run


def settle(run: Run, check: StartCheck | None) -> Run:
    """Write the record of a finished run: metrics, plots, `run.json`."""
    rows = settle_metrics(run.path)
    plots = plot_run(rows, run.path, first_loss(run.config))
    first = next((row for row in rows if row.get("step") == 1 and "loss" in row), None)
    check = check or (check_start(run.config, first) if first else None)
    run.over(
        "finished",
        summary=summarize(rows),
        start_check={"ok": check.ok, "message": check.message} if check else None,
        plots=tuple(run.file(path.name) for path in plots),
    )
    return run


@contextmanager
def interrupted_is_said(run: Run) -> Iterator[None]:
    """Ctrl-C in the block leaves a record that says so, and a line that says how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        settle_interrupted(run)
        raise


def settle_interrupted(run: Run) -> None:
    """Write the record of a run that was stopped, and say how to resume it."""
    with suppress(RlguideError):  # on a full disk; it is found to be interrupted all the same
        run.over("interrupted")
        settle_metrics(run.path)
    say(stopped_words(run))


def stopped_words(run: Run) -> str:
    """Where a run was stopped, and the command that resumes it."""
    checkpoint = last_checkpoint(run.path)
    kept = f"checkpoint at step {step_of(checkpoint)} is kept" if checkpoint else "no checkpoint yet"
    return f"stopped; {kept}. Resume with: {resume_command(run.name)}"
