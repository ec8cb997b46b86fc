"""Start a training, watch it to its end, and leave a record; or go on with one that was interrupted."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rlguide.catalog.methods import recorded_method
from rlguide.console import say
from rlguide.engine.failures import explain_failure
from rlguide.engine.find import Engine
from rlguide.engine.output import Logged, OutputParser, Progress
from rlguide.engine.process import EngineProcess, is_alive, read_tail
from rlguide.engine.worker import engine_environment
from rlguide.errors import EngineError, UsageError
from rlguide.recipes.prepare import Prepared
from rlguide.recipes.render import load_recipe, render
from rlguide.runs.checkpoints import is_complete, last_checkpoint, list_checkpoints, put_damaged_aside
from rlguide.runs.diagnosis import StartCheck, check_start, first_loss
from rlguide.runs.live import TrainingView
from rlguide.runs.metrics import MetricsLog, settle_metrics, summarize
from rlguide.runs.plots import plot_run
from rlguide.runs.record import CONFIG, LOG, METRICS, Run, create_run
from rlguide.workspace import Workspace, atomic_write


def train_command(engine: Engine, config: str) -> list[str]:
    """The command that trains this config, from the workspace folder."""
    return [str(engine.cli), "train", config]


def train(ws: Workspace, engine: Engine, prepared: Prepared) -> Run:
    """Train a prepared config to its end.

    Raises:
        EngineError: the engine failed; the message has the cause. Its exit code is the engine's.
        KeyboardInterrupt: after the whole process group is stopped and the record is written.
    """
    folder = ws.root / prepared.output_dir
    for leftover in (METRICS, LOG, "trainer_log.jsonl"):  # of a run that failed before its first checkpoint
        (folder / leftover).unlink(missing_ok=True)
    run = create_run(ws, prepared, engine.versions)
    with atomic_write(run.path / CONFIG) as file:
        file.write(prepared.text)
    return _drive(ws, engine, run, start_step=0)


def resume(ws: Workspace, engine: Engine, run: Run) -> Run:
    """Go on with an interrupted or failed run from its last complete checkpoint, with the config it began with.

    Raises:
        UsageError: it is finished or still running.
        EngineError, KeyboardInterrupt: as `train`.
    """
    if is_alive(run.values.get("pid")):
        raise UsageError(
            f"{ws.relative(run.path)} is still training (process {run.values['pid']})",
            f"watch it: tail -f {run.path / LOG}",
        )
    if run.status == "finished":
        raise UsageError(f"{ws.relative(run.path)} is finished", f"`rlguide eval {ws.relative(run.path)}`")
    if is_complete(run):  # it ended while nobody watched: only the record is missing
        return _settle(ws, run, None)
    config = {key: value for key, value in run.config.items() if key != "resume_from_checkpoint"}
    put_damaged_aside(run.path)
    method = recorded_method(run.values.get("method"))
    not_resumable = method.not_resumable if method is not None else ""
    checkpoint = None if not_resumable else last_checkpoint(run.path)
    step = 0
    if checkpoint is None:
        why = not_resumable or "no complete checkpoint was written yet"
        say(f"{why}: training starts from the beginning")
        (run.path / METRICS).unlink(missing_ok=True)
        for path in list_checkpoints(run.path):  # the engine would go on from one that it finds
            shutil.rmtree(path)
    else:
        step = int(checkpoint.name.partition("-")[2])
        config["resume_from_checkpoint"] = ws.relative(checkpoint)
        config.pop("overwrite_output_dir", None)  # it would delete the log of the first part
        say(f"going on from step {step} of {run.values.get('total_steps')}")
    introduction = [f"The config of {ws.relative(run.path)}, resumed from step {step}."]
    with atomic_write(run.path / CONFIG) as file:
        file.write(render(load_recipe(str(run.values.get("method", "dpo"))), config, introduction))
    return _drive(ws, engine, run, start_step=step)


def _drive(ws: Workspace, engine: Engine, run: Run, start_step: int) -> Run:
    total = int(run.values.get("total_steps") or 0)
    check: StartCheck | None = None
    with _config_argument(ws, run) as argument:
        process = EngineProcess(train_command(engine, argument), ws.root, engine_environment(engine), run.path / LOG)
        try:
            with process, TrainingView(ws.relative(run.path), total, start_step) as view:
                run.update(status="running", pid=process.pid)
                check = _watch(process, run, view, start_step)
        except KeyboardInterrupt:
            run.update(status="interrupted", pid=None)
            settle_metrics(run.path)
            _say_how_to_resume(ws, run)
            raise
    code = process.returncode
    if code != 0:
        _fail(ws, run, code if code is not None else 1)
    return _settle(ws, run, check)


def _watch(process: EngineProcess, run: Run, view: TrainingView, start_step: int) -> StartCheck | None:
    parser, check = OutputParser(), None
    log = MetricsLog(run.path / METRICS, run.config, view.total, start_step)
    try:
        for line in process.lines():
            if line is None:
                view.tick()
                continue
            view.read(line)
            for event in parser.feed(line):
                if isinstance(event, Progress) and event.phase == "train":
                    view.progress(event.done, event.total)
                elif isinstance(event, Logged) and event.kind == "eval":
                    view.metrics(log.add_eval(event.values, view.step))
                elif isinstance(event, Logged) and event.kind == "train":
                    row = log.add_train(event.values)
                    view.metrics(row)
                    if row["step"] == 1 and start_step == 0:
                        check = check_start(run.config, row)
                        if check:
                            view.note(check.message if check.ok else f"warning: {check.message}")
    finally:
        log.close()
    return check


def _settle(ws: Workspace, run: Run, check: StartCheck | None) -> Run:
    """Write the record of a finished run: metrics, plots, manifest."""
    rows = settle_metrics(run.path)
    plots = plot_run(rows, run.path, first_loss(run.config))
    first = next((row for row in rows if row.get("step") == 1 and "loss" in row), None)
    check = check or (check_start(run.config, first) if first else None)
    run.update(
        status="finished",
        pid=None,
        summary=summarize(rows),
        start_check={"ok": check.ok, "message": check.message} if check else None,
        plots=[ws.relative(path) for path in plots],
    )
    return run


def _fail(ws: Workspace, run: Run, code: int) -> None:
    tail = read_tail(run.path / LOG)
    failure = explain_failure(tail, code)
    run.update(status="failed", pid=None, failure={"what": failure.what, "exit_code": code})
    settle_metrics(run.path)
    error = EngineError(failure.what, f"{failure.fix}; log: {ws.relative(run.path / LOG)}")
    error.exit_code = code if 0 < code < 126 else 1
    raise error


def _say_how_to_resume(ws: Workspace, run: Run) -> None:
    checkpoint = last_checkpoint(run.path)
    kept = f"checkpoint at step {checkpoint.name.partition('-')[2]} is kept" if checkpoint else "no checkpoint yet"
    say(f"stopped; {kept}. Go on with: rlguide train --resume {ws.relative(run.path)}")


@contextmanager
def _config_argument(ws: Workspace, run: Run) -> Iterator[str]:
    """The config's path for the command line, never with a blank in it.

    With several GPUs LLaMA-Factory joins its arguments with blanks and splits them again (launcher.py), so a
    path with a blank breaks; then a copy in the temporary folder is named.
    """
    name = ws.relative(run.path / CONFIG)
    if not re.search(r"\s", name):
        yield name
        return
    with tempfile.TemporaryDirectory(prefix="rlguide-") as folder:
        copy = Path(folder) / CONFIG
        shutil.copyfile(run.path / CONFIG, copy)
        yield str(copy)
