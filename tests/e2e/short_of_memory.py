"""An engine that runs out of memory: the real one, whose trainer fails where a test says so, and notes its rows.

Its Python loads this file as `sitecustomize`. SHORT_OF_MEMORY holds JSON: `above`: pairs of a micro-batch that still
fit, `at`: the step before which it fails, `how`: "gpu" and "main" raise what torch would, "kill" is signal 9, `rank`:
of the process, `during`: "training" or "evaluation". Each micro-batch that was trained on is a line in ROWS_FILE.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shlex
import signal
import sys
from pathlib import Path

MESSAGES = {
    "gpu": "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 47.50 GiB of which"
    " 1.00 GiB is free.",
    "main": "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to"
    " allocate 2147483648 bytes. Error code 12 (Cannot allocate memory)",
}


def make_engine(python: Path, folder: Path) -> Path:
    """A Python in `folder` that is the engine's, with this file loaded first; returns its path."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(Path(__file__).read_text(encoding="utf-8"), encoding="utf-8")
    made = folder / "python"
    made.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(folder))} exec {shlex.quote(str(python))} "$@"\n')
    made.chmod(0o755)
    return made


def _pairs(inputs) -> list[str]:
    """What tells the pairs of a micro-batch of DPO from others: a hash of the chosen half's tokens."""
    half = len(inputs["input_ids"]) // 2
    rows = zip(inputs["input_ids"][:half].tolist(), inputs["attention_mask"][:half].tolist(), strict=True)
    kept = ([token for token, is_kept in zip(*row, strict=True) if is_kept] for row in rows)
    return [hashlib.sha256(str(row).encode()).hexdigest()[:12] for row in kept]


def _fail(inputs, during: str, step: int) -> None:
    import torch

    asked = json.loads(os.environ["SHORT_OF_MEMORY"])
    is_rank = asked.get("rank", 0) == int(os.environ.get("RANK", "0"))
    is_here = asked.get("during", "training") == during and step >= asked["at"]
    if not (is_rank and is_here and len(inputs["input_ids"]) // 2 > asked["above"]):
        return
    if asked["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    raise (torch.OutOfMemoryError if asked["how"] == "gpu" else RuntimeError)(MESSAGES[asked["how"]])


def _patch(module) -> None:
    kind = module.Trainer
    training_step, find_batch_size = kind.training_step, module.find_batch_size

    def noted(self, model, inputs, *others, **named):
        _fail(inputs, "training", self.state.global_step)
        loss = training_step(self, model, inputs, *others, **named)
        if os.environ.get("ROWS_FILE"):
            line = {"step": self.state.global_step, "pid": os.getppid(), "rows": _pairs(inputs)}
            line |= {"alone": os.environ.get("LOCAL_RANK") is None, "own": os.getpid()}
            file = os.open(os.environ["ROWS_FILE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.write(file, (json.dumps(line) + "\n").encode())
            os.close(file)
        return loss

    def failing(inputs):  # which the loop of evaluation asks of each batch
        _fail(inputs, "evaluation", asked["at"])
        return find_batch_size(inputs)

    asked = json.loads(os.environ["SHORT_OF_MEMORY"])
    kind.training_step, module.find_batch_size = noted, failing


class _Finder:
    """Patches the trainer when it is imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "transformers.trainer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            _patch(module)

        spec.loader.exec_module = exec_module
        return spec


if __name__ == "sitecustomize" and os.environ.get("SHORT_OF_MEMORY"):
    sys.meta_path.insert(0, _Finder())
