"""Begin a run: its folder with the record, the config and which prompts it trains, and nothing of an earlier one."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from rlguide.engine.find import Engine
from rlguide.engine.running import EVENTS
from rlguide.errors import DataError, UsageError
from rlguide.launchers.launch import LOGS
from rlguide.launchers.slurm.states import OVER
from rlguide.policy.parts import weight_files
from rlguide.policy.run_record import RUN_FILE
from rlguide.recipes.prepare import Prepared
from rlguide.runs.checkpoints import list_checkpoints
from rlguide.runs.hosts import keep_hosts
from rlguide.runs.metrics import METRICS
from rlguide.runs.planned import kept
from rlguide.runs.record import CONFIG, LOG, Run, create_run, read_run
from rlguide.runs.training.options import RunOptions
from rlguide.runs.training_rows import write_fingerprints
from rlguide.workspace import Workspace, atomic_write

if TYPE_CHECKING:
    from rlguide.planner.plan import Plan


# What LLaMA-Factory leaves in the folder of a run.
_OF_THE_ENGINE = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "all_results.json",
    "eval_results.json",
    "train_results.json",
    "trainer_log.jsonl",
    "trainer_state.json",
)


def begin(ws: Workspace, engine: Engine, prepared: Prepared, options: RunOptions, plan: Plan | None) -> Run:
    """The run of a prepared config, with nothing in its folder but the record; nothing is started.

    The folder is `held`. Arguments and errors are those of `train`.
    """
    _check_free(ws, ws.root / prepared.output_dir)
    _clear(ws.root / prepared.output_dir)
    run = create_run(ws, prepared, engine.versions, options.is_plain, kept(plan) if plan else None)
    if not options.launch.is_default:
        run.update(launch=options.launch.as_dict())
        keep_hosts(run)
    return run


def _check_free(ws: Workspace, folder: Path) -> None:
    """Refuse the folder of a run that a Slurm job trains, or is going to. Raises UsageError."""
    try:
        run = read_run(ws, folder)
    except DataError:  # there is none, or it is damaged
        return
    if (job := run.slurm_job) is not None and job.phase != OVER:
        stop = f"rlguide stop {shlex.quote(run.name)}"
        raise UsageError(
            f"{run.name} {job.words}", f"choose another folder with --output-dir, or end that one: `{stop}`"
        )


def write_inputs(ws: Workspace, run: Run, prepared: Prepared) -> None:
    """Write beside the record what is trained: the config, and which prompts."""
    with atomic_write(run.path / CONFIG) as file:
        file.write(prepared.text)
    write_fingerprints(ws, run.path, prepared.config)


def _clear(folder: Path) -> None:
    """Remove what an earlier run left (one that failed early, or that is to be overwritten), so that none of it counts.

    The engine's `overwrite_output_dir` leaves it all, and checkpoints of the old run would be resumed from.
    """
    for path in list_checkpoints(folder):
        shutil.rmtree(path)
    for name in ("eval", LOGS):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in (RUN_FILE, METRICS, EVENTS, LOG):
        (folder / name).unlink(missing_ok=True)
    clear_result(folder)


def clear_result(folder: Path) -> None:
    """Remove the weights and the figures of a training that begins anew: the engine refuses a folder with weights."""
    for path in (*(folder / name for name in _OF_THE_ENGINE), *weight_files(folder)):
        path.unlink(missing_ok=True)
