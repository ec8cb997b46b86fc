"""Make a run ready to continue: with less memory where it ran out, and from its last complete checkpoint."""

from __future__ import annotations

import shutil

from rlguide.console import say
from rlguide.engine.find import Engine
from rlguide.recipes.render import load_recipe, render
from rlguide.recipes.schedule import MICRO_BATCH, count_of
from rlguide.runs.checkpoints import list_checkpoints, put_damaged_aside, resumable_checkpoint, set_micro_batch, step_of
from rlguide.runs.record import CONFIG, Run
from rlguide.runs.resumable import check_resumable
from rlguide.runs.retry import continue_with, failed_of, next_of, nothing_left, survived
from rlguide.runs.training.begin import clear_result
from rlguide.workspace import Workspace, atomic_write


def lessen(ws: Workspace, engine: Engine, run: Run) -> None:
    """Let a run that ran out of memory continue with the next setting; nothing for any other.

    Raises:
        EngineError: there is none. UsageError: its checkpoint cannot be resumed from.
    """
    failed = failed_of(ws, run, engine)
    if failed is None:
        return
    change = next_of(ws, run, engine)
    if change is None:
        raise nothing_left(run, failed, engine)
    checkpoint = resumable_checkpoint(run.path)
    if checkpoint is not None:
        check_resumable(run, checkpoint)  # before anything changes
    where = {"start": "before the first step", "evaluation": "in the evaluation"}.get(failed.during, "")
    say(f"{failed.what}{where and f', {where}'}: continuing with less memory: {continue_with(run, change)}")


def restore(run: Run) -> int:
    """Write the config that resumes the run; returns the step from which it will, 0 for the beginning."""
    config = {key: value for key, value in run.config.items() if key != "resume_from_checkpoint"}
    config["output_dir"] = run.name  # where the record lies, whatever it says
    put_damaged_aside(run.path)
    not_resumable = run.method.not_resumable if run.method is not None else ""
    checkpoint = None if not_resumable else resumable_checkpoint(run.path)
    step = 0
    if checkpoint is None:
        why = not_resumable or "no complete checkpoint was written yet"
        say(f"{why}: training starts from the beginning")
        for path in list_checkpoints(run.path):  # the engine would resume from one that it finds
            shutil.rmtree(path)
        clear_result(run.path)
    else:
        check_resumable(run, checkpoint)
        step = step_of(checkpoint)
        config["resume_from_checkpoint"] = run.file(checkpoint.name)
        if not config.get("auto_find_batch_size"):
            set_micro_batch(checkpoint, count_of(config, MICRO_BATCH))
        if config.get("early_stopping_steps"):  # else its count of evaluations without progress begins anew
            config["restore_callback_states_from_checkpoint"] = True
        config.pop("overwrite_output_dir", None)  # it would delete the log of the first part
        say(f"resuming from step {step} of {run.record.total_steps}")
    introduction = [f"The config of {run.name}, resumed from step {step}."]
    if less := survived(run.record.attempts or ()):
        introduction.append(f"It {less}.")
    with atomic_write(run.path / CONFIG) as file:
        file.write(render(load_recipe(run.method_name), config, introduction))
    return step
