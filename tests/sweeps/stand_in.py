"""Stands in for `rlguide train`: takes steps of a moment, evaluates, and can be resumed, stopped and killed.

STAND_IN names a JSON file: `steps`, `pause` (seconds a step), `fail`: {"KEY=VALUE": "gpu lost"}. It notes each step in
`steps.jsonl` of its run, and in `conflicts` beside the runs if two of it train the same. `detached`: it only hands the
training in, as to a cluster; `stop` ends that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from rlguide.engine.running import held, is_training  # noqa: E402
from rlguide.errors import UsageError  # noqa: E402
from rlguide.policy.run_record import RecordedReference, RunRecord, read_record, write_record  # noqa: E402


def value_of(settings: dict[str, Any], step: int, steps: int) -> float:
    """The held-out loss: lower near learning_rate 3, and falling with the steps."""
    return abs(float(settings.get("learning_rate", 1)) - 3) + 1 - step / steps


def value(text: str) -> Any:
    """A number, or the text."""
    try:
        return float(text)
    except ValueError:
        return text


def train(arguments: list[str]) -> None:
    asked = json.loads(Path(os.environ["STAND_IN"]).read_text())
    steps = asked["steps"]
    words = [arguments[at + 1] for at, word in enumerate(arguments) if word == "--set"]
    name = arguments[arguments.index("--resume" if "--resume" in arguments else "-o") + 1]
    time.sleep(asked.get("start", 0.0))
    folder = Path(name)
    settings = {key: value(text) for key, _, text in (word.partition("=") for word in words)}
    why = next((said for word, said in asked.get("fail", {}).items() if word in words), None)
    if why:
        sys.stderr.write(f"error: {folder.name}: {why}\n  fix: plug it in\n")
        raise SystemExit(1)
    try:
        with held(folder, name):
            _steps(folder, name, settings, steps, asked["pause"])
    except UsageError:
        with folder.with_name("conflicts").open("a") as file:
            file.write(f"{name}\n")
        raise


def _steps(folder: Path, name: str, settings: dict[str, Any], steps: int, pause: float) -> None:
    record = read_record(folder)
    if record is None:
        record = RunRecord(
            rlguide="0",
            id=name,
            method="dpo",
            status="prepared",
            base="models/tiny",
            stack=(name,),
            reference=RecordedReference("models/tiny", ()),
            total_steps=steps,
            config={"output_dir": name, **settings},
            created="2026-01-01T00:00:00+00:00",
            seconds=1.0,
        )
    settings = record.config or {}
    log = folder / "steps.jsonl"
    done = len(log.read_text().splitlines()) if log.exists() else 0
    write_record(folder, _with(record, status="running", pid=os.getpid()))
    try:
        for step in range(done + 1, steps + 1):
            time.sleep(pause)
            row = {"step": step, "eval_loss": value_of(settings, step, steps), "eval_rewards/accuracies": 0.5}
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            with log.open("a") as file:
                gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
                file.write(json.dumps({"step": step, "pid": os.getpid(), "gpus": gpus, "time": time.time()}) + "\n")
    except KeyboardInterrupt:
        write_record(folder, _with(record, status="interrupted", pid=None))
        raise SystemExit(130) from None
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": steps, "log_history": []}))
    write_record(folder, _with(record, status="finished", pid=None))


def _with(record: RunRecord, **values: Any) -> RunRecord:
    from dataclasses import replace

    return replace(record, **values)


def hand_in(arguments: list[str]) -> None:
    """Start the training in a process of its own, and end when it runs."""
    name = arguments[arguments.index("--resume" if "--resume" in arguments else "-o") + 1]
    subprocess.Popen([sys.executable, __file__, "inside", *arguments], start_new_session=True)
    folder = Path(name)
    while not (_status(folder) == "finished" or (_status(folder) == "running" and is_training(folder, None))):
        time.sleep(0.01)  # it may be over before it is seen to run


def _status(folder: Path) -> str | None:
    record = read_record(folder)
    return record.status if record is not None else None


def stop(folder: Path) -> None:
    record = read_record(folder)
    assert record is not None and record.pid is not None
    os.kill(record.pid, signal.SIGTERM)
    while is_training(folder, None):
        time.sleep(0.01)


def interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    try:
        detached = json.loads(Path(os.environ["STAND_IN"]).read_text()).get("detached")
        if sys.argv[1] == "stop":
            stop(Path(sys.argv[2]))
        elif sys.argv[1] == "train" and detached:
            hand_in(sys.argv[2:])
        else:
            train(sys.argv[2:])
    except KeyboardInterrupt:
        raise SystemExit(130) from None
