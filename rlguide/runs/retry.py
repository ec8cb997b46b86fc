"""What becomes of a run that ran out of memory: its record, how it continues, and what is said of it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rlguide.console import printable
from rlguide.engine.events import Raised
from rlguide.engine.find import Engine
from rlguide.engine.job import JobFailed
from rlguide.engine.out_of_memory import Figures, figures_of
from rlguide.errors import EngineError, UsageError
from rlguide.launchers.launch import Launch
from rlguide.planner.ladder import CHECKPOINTING, SEGMENTS, WAYS, Change, Failed, next_setting, what_is_left
from rlguide.policy.run_state import resume_command
from rlguide.recipes.outward import read_settings
from rlguide.recipes.sharing.ways import TITLES, ZERO3, candidates
from rlguide.runs.planned import fits_of
from rlguide.runs.record import CONFIG, Run
from rlguide.workspace import Workspace

# The settings of torch's CUDA allocator: torch 2.11 takes both names, older ones the first.
_ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
# Keys of a DeepSpeed config that say the micro-batch, where they are not "auto".
_OF_DEEPSPEED = ("train_micro_batch_size_per_gpu", "gradient_accumulation_steps", "train_batch_size")


def check_one_node(launch: Launch) -> None:
    """Refuse to restart the processes of one node where others train with them. Raises UsageError."""
    if launch.nodes > 1:
        raise UsageError(
            f"--auto-retry restarts the processes of one node, and {launch.nodes} are to train together",
            "leave --auto-retry out, or train on one node",
        )
    nodes = os.environ.get("NNODES") or "1"
    if nodes != "1" or os.environ.get("MIN_NNODES"):
        raise UsageError(
            f"--auto-retry restarts the processes of this node only, and others train with them (NNODES={nodes})",
            "leave --auto-retry out, or train on one node: unset NNODES MIN_NNODES",
        )


def record_failure(run: Run, error: JobFailed, during: str, step: int) -> None:
    """Write into the record how a run failed.

    Args:
        during: where it was, for all that the events said; an exception of its process knows better.
        step: the last step of which an event told.
    """
    failure: dict[str, Any] = {"what": error.what, "exit_code": error.returncode}
    if error.cause.memory:
        told = _told(error)
        device = told.memory.get("device")
        is_of_device = error.cause.memory == "main" or _is_gpu(device)
        figures = figures_of(error.cause.message, told.memory if is_of_device else {}).known()
        failure |= {"memory": error.cause.memory, "during": told.during or during, "step": step, "figures": figures}
        failure |= {"device": device} if isinstance(device, str) and is_of_device else {}
    run.over("failed", failure=failure)


def _told(error: JobFailed) -> Raised:
    """What the process that ran out of memory told of itself."""
    for raised in error.raised:
        if error.cause.message and any(message == error.cause.message for _, message in raised.chain):
            return raised
    return Raised()


def _is_gpu(device: Any) -> bool:
    return isinstance(device, str) and device != "cpu"


def failed_of(ws: Workspace, run: Run, engine: Engine) -> Failed | None:
    """How a run ran out of memory, if that is how it failed last, and nothing followed."""
    failure = run.record.failure or {}
    memory = failure.get("memory")
    if memory not in ("gpu", "main"):
        return None
    figures = failure.get("figures")
    used = (run.record.lean or {}).get("used")
    several = (run.record.processes or 1) > 1  # there the worker sets the allocator, as the engine does
    is_said = several or any(os.environ.get(name) for name in _ALLOCATOR)
    return Failed(
        what=printable(str(failure.get("what") or "memory ran out")),
        memory=memory,
        during=str(failure.get("during") or ""),
        figures=figures_of("", figures) if isinstance(figures, dict) else Figures(),
        lean=tuple(map(str, used)) if isinstance(used, list) else (),
        ways=ways_of(run),
        can_segment=_is_gpu(failure.get("device")) and not is_said,
        has_liger="liger_kernel" in engine.versions,
        fixed=_why_fixed(ws, run),
    )


def _why_fixed(ws: Workspace, run: Run) -> str:
    settings = read_settings(ws.root, run.config.get("deepspeed"))
    said = [key for key in _OF_DEEPSPEED if isinstance(settings, dict) and settings.get(key, "auto") != "auto"]
    return f"the DeepSpeed config says {said[0]}" if said else ""


def ways_of(run: Run) -> tuple[str, ...]:
    """The ways in which a run needs less memory since it, or the run that it does again, ran out, beside its config."""
    found = [attempt.get("way") for attempt in run.record.attempts or ()]
    of_replayed = (run.record.replays or {}).get("ways")
    found += of_replayed if isinstance(of_replayed, list) else []
    return tuple(way for way in WAYS if way in found)


def worker_options(run: Run) -> list[str]:
    """The options of the worker that trains the run, for these ways."""
    return ["--checkpointing"] if CHECKPOINTING in ways_of(run) else []


def variables_of(run: Run) -> dict[str, str]:
    """The environment variables for these ways."""
    return {_ALLOCATOR[0]: f"{SEGMENTS}:True"} if SEGMENTS in ways_of(run) else {}


def next_of(ws: Workspace, run: Run, engine: Engine) -> Change | None:
    """What a run that ran out of memory can continue with; None if nothing is left, or it failed of something else."""
    failed = failed_of(ws, run, engine)
    return None if failed is None else next_setting(run.config, failed, fits_of(ws, run, engine))


def continue_with(run: Run, change: Change) -> str:
    """Put a change into the record, which then holds how the run continues; returns what changes, in words.

    The file of the config follows when the run is resumed.
    """
    said, failure = change.describe(run.config), run.record.failure or {}
    before = {key: run.config[key] for key in change.settings if key in run.config}
    attempt = {"failure": failure, "change": said, "time": datetime.now(UTC).isoformat(timespec="seconds")}
    attempt |= {"way": change.way} if change.way else {}
    attempt |= {"before": before, "settings": dict(change.settings)} if change.settings else {}
    values: dict[str, Any] = {"config": change.applied(run.config), "attempts": (*(run.record.attempts or ()), attempt)}
    if run.record.plan is not None:  # what it takes from now on is not what was planned: no later plan learns from it
        values["plan"] = {key: value for key, value in run.record.plan.items() if key != "outcome"}
    run.update(**values, failure=None, status="interrupted", pid=None)
    return said


def explain(ws: Workspace, run: Run, engine: Engine, error: JobFailed) -> None:
    """Let an error that says that memory ran out say how the run continues: with the same result, or with another."""
    failed, change = failed_of(ws, run, engine), next_of(ws, run, engine)
    if change is not None:
        command = resume_command(run.name, with_less_memory=True)
        fix = f"continue with less memory ({change.describe(run.config)}): `{command}`"
    else:
        fix = fix_of(run, failed, engine) if failed is not None else ""
    if fix:
        others = f"{error.cause.fix}; or " if failed is not None and failed.figures.others else ""
        error.fix = f"{others}{fix}; log: {error.shown}"


def nothing_left(run: Run, failed: Failed, engine: Engine) -> EngineError:
    """What to say to one who wants to continue with less memory where no setting is left that learns the same."""
    fix = fix_of(run, failed, engine) or f"with more memory: `{resume_command(run.name)}`"
    return EngineError(f"{run.name}: {failed.what}, and no setting is left that needs less and learns the same", fix)


def fix_of(run: Run, failed: Failed, engine: Engine) -> str:
    """What trains with less memory, but only from the start, as a `fix:` says it; "" if nothing is known.

    First what learns the same, then what learns something else.
    """
    anew: list[tuple[str, str, list[str]]] = []
    if failed.memory == "gpu" and (way := _shared_by(run, engine)):
        why = f"{TITLES[way]}: the GPUs share what each holds now, and learn the same"
        anew.append((f"--sharing {way}", why, ["--sharing", way]))
    left = what_is_left(run.config, failed)
    anew += [(setting, why, ["--set", setting]) for setting, why in left]
    fixes: list[str] = []
    for words, why, options in anew:
        command = "" if fixes else f": `{_anew(run, options)}`"
        fixes.append(f"{'' if fixes else 'start again with '}{words} ({why}){command}")
    if failed.memory == "gpu":
        is_lora = run.config.get("finetuning_type", "lora") == "lora"
        fixes += (
            ["start again with --quantization 4 (QLoRA)"] if is_lora and not run.config.get("quantization_bit") else []
        )
        fixes += ["train without --plain, which needs more"] if run.record.plain else []
        fixes += ["choose a smaller model or a larger GPU"] if failed.during == "start" else []
    return ", or ".join(fixes)


def _shared_by(run: Run, engine: Engine) -> str:
    """The way in which the GPUs of a run can share more than they do; "" where there is none."""
    if (run.record.processes or 1) < 2 or run.method is None:
        return ""
    ways = candidates(run.config, run.method.stage, "deepspeed" in engine.versions)
    return next((way for way in ways if way != ZERO3), "")  # for which a config of adapters would be merged first


def _anew(run: Run, options: Sequence[str]) -> str:
    """The command that trains the config of a run again, from the start, in another folder."""
    words = [*run.launch.options, "--set", "resume_from_checkpoint=null", *options]  # it resumes what was resumed
    return shlex.join(["rlguide", "train", "--config", run.file(CONFIG), "-o", f"{run.name}-smaller", *words])


def survived(attempts: Sequence[dict[str, Any]]) -> str:
    """How a run continued after it had run out of memory, in one line; "" if it never did."""
    changes = [printable(str(attempt.get("change"))) for attempt in attempts]
    times = {1: "once", 2: "twice"}.get(len(changes), f"{len(changes)} times")
    return f"ran out of memory {times}, and continued with: {'; then '.join(changes)}" if changes else ""
