"""Whether a run can be resumed so that it ends as if it had never stopped: data, processes, whole checkpoints."""

from __future__ import annotations

import json
import os
import shlex
from dataclasses import replace
from pathlib import Path

from rlguide.catalog.methods import find_method
from rlguide.data.store.registered import checksum
from rlguide.engine.hardware import Gpu, list_gpus
from rlguide.errors import UsageError
from rlguide.launchers.launch import LOCAL, Launch, check_gpus
from rlguide.recipes.data import data_of_config
from rlguide.recipes.schedule import processes
from rlguide.recipes.sharing.checks import check_processes
from rlguide.runs.record import Run
from rlguide.workspace import Workspace


def check_data_unchanged(ws: Workspace, run: Run) -> None:
    """Refuse data that is not the data the run began with: the engine would train on other rows than it says.

    Raises:
        UsageError: a dataset changed, or what its entry says of its columns.
        UsageError, DataError: one is missing or broken.
    """
    recorded = run.record.checksums
    if recorded is None:  # of an earlier version
        return
    data = data_of_config(ws, find_method(run.method_name), run.config)
    counts = {**(run.record.datasets or {}), **(run.record.held_out or {})}
    for item in (*data.train, *data.held_out):
        if recorded.get(item.name) not in (None, checksum(ws, item)):
            before, now = counts.get(item.name), item.rows
            rows = f" ({before} rows then, {now} now)" if before != now else ""
            raise UsageError(
                f"{item.name} is not the data that {run.name} began with{rows}",
                "register the same data again under that name, or train anew with another --output-dir",
            )
        reading = (run.record.readings or {}).get(item.name, item.reading)
        if reading != item.reading:
            raise UsageError(
                f"{item.name} is read in another way than when {run.name} began: dataset_info.json says so",
                f"make it again what it was ({json.dumps(reading, ensure_ascii=False)} beside file_name),"
                " or train anew with another --output-dir",
            )


def check_resumable(run: Run, checkpoint: Path) -> None:
    """Refuse a checkpoint that holds the model only: optimizer and schedule would begin anew. Raises UsageError."""
    if any(checkpoint.glob("optimizer*")) or any(checkpoint.glob("global_step*")):  # DeepSpeed's folder
        return
    raise UsageError(
        f"{run.file(checkpoint.name)} holds no state of the optimizer (save_only_model), so it cannot be resumed from",
        "train anew with another --output-dir and --set save_only_model=false; "
        f"or start another round from it: --sft-ckpt {shlex.quote(run.file(checkpoint.name))}",
    )


def resumed_launch(run: Run, given: Launch) -> Launch:
    """How a run is resumed: as it began, or on other GPUs of this host where `given` names some.

    Raises:
        UsageError: they are not there, or another number of processes is given.
    """
    began = run.launch
    if given.launcher != LOCAL or began.launcher != LOCAL:
        return began
    wanted = run.record.processes
    if given.nproc is not None and wanted not in (None, given.nproc * began.nodes):
        raise UsageError(
            f"{run.name} began on {wanted} processes, and --nproc {given.nproc} would train something else",
            "leave --nproc out, or train anew with another --output-dir",
        )
    launch = replace(began, gpus=given.gpus or began.gpus, nproc=given.nproc or began.nproc)
    check_gpus(launch, os.environ)
    return launch


def same_processes(run: Run) -> dict[str, str]:
    """Environment variables with which the engine starts as many processes as the run began with.

    With another number the effective batch, the schedule and the order of the rows would be others.

    Raises:
        UsageError: there are fewer GPUs now, or the record says more processes than this host can have.
    """
    gpus = list_gpus()
    variables = _same(run, gpus)
    if run.launch.launcher == LOCAL:
        try:
            check_processes(run.config, gpus, {**os.environ, **variables})
        except UsageError as error:
            raise UsageError(
                f"{run.name}: {error.what}", "resume it where it began, or train anew with another --output-dir"
            ) from None
    return variables


def _same(run: Run, gpus: list[Gpu]) -> dict[str, str]:
    wanted = run.record.processes
    if wanted is None or wanted == processes(run.config, gpus, os.environ):
        return {}
    if gpus and len(gpus) < wanted:
        raise UsageError(
            f"{run.name} began on {wanted} GPUs, and {len(gpus)} can be seen now",
            "name as many (--gpus), make them visible (CUDA_VISIBLE_DEVICES), or train anew with another --output-dir",
        )
    visible = {"CUDA_VISIBLE_DEVICES": ",".join(str(gpu.index) for gpu in gpus[:wanted])} if gpus else {}
    if wanted == 1:
        return {**visible, "FORCE_TORCHRUN": "0", "NPROC_PER_NODE": "1"}
    return {**visible, "FORCE_TORCHRUN": "1", "NPROC_PER_NODE": str(wanted), "NNODES": "1"}
