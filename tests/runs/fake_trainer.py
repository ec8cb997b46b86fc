"""Trains nothing, in place of the engine's Python: follows a config as transformers 4.57 would, and fails as asked.

usage: fake_trainer.py WORKER.py CONFIG.yaml EVENTS.jsonl [OPTION ...]

FAKE_TRAINER names a JSON file: `rows` of the data, `fail`: a list of {"above": micro-batch, "at": step, "how": ...}.
The process fails before a step at which one of them holds: "gpu", "main" and "other" raise, "kill" is signal 9, "wait"
goes on for ever, "asked" ends as one of several processes that were asked to, whose launcher was ended meanwhile. It
notes each step in `trained.jsonl` of the run: rows, options, the allocator.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.policy.checkpoint_files import write_lora  # noqa: E402

MESSAGES = {
    "gpu": (
        "torch.OutOfMemoryError",
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 47.50 GiB of which 1.00 GiB is"
        " free. Including non-PyTorch memory, this process has 46.00 GiB memory in use. Of the allocated memory 44.00"
        " GiB is allocated by PyTorch, and 512.00 MiB is reserved by PyTorch but unallocated.",
    ),
    "main": ("RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1024 bytes."),
    "other": ("ValueError", "something else"),
}


class Trainer:
    """The loop of transformers' Trainer: one process, rows in an order of each epoch."""

    def __init__(self, config: dict[str, Any], events: Path, options: list[str]) -> None:
        self.config, self.options = config, options
        self.folder = Path(config["output_dir"])
        self.asked = json.loads(Path(os.environ["FAKE_TRAINER"]).read_text())
        self.batch, self.accumulation = config["per_device_train_batch_size"], config["gradient_accumulation_steps"]
        self.step = 0
        self._events = events.open("a")
        if checkpoint := config.get("resume_from_checkpoint"):
            state = json.loads(Path(checkpoint, "trainer_state.json").read_text())
            self.step = state["global_step"]
            self.batch = state["train_batch_size"]  # whatever the config says: Trainer.train of 4.57

    def tell(self, event: str, **values: Any) -> None:
        print(json.dumps({"event": event, **values}), file=self._events, flush=True)

    def train(self) -> None:
        size = self.batch * self.accumulation
        steps_per_epoch = -(-self.asked["rows"] // size)
        total = steps_per_epoch * self.config["num_train_epochs"]
        if not self.options and not self.config.get("disable_gradient_checkpointing"):
            self.tell("lean", used=self.asked.get("lean", []), why_not={})
        self.fail("start")
        self.tell("begin", step=self.step, total_steps=total, processes=1, batch=size)
        while self.step < total:
            epoch, within = divmod(self.step, steps_per_epoch)
            order = list(range(self.asked["rows"]))
            random.Random(epoch).shuffle(order)
            self.fail("training")
            rows = order[within * size : (within + 1) * size]
            self.step += 1
            self.note({"step": self.step, "epoch": epoch, "rows": rows})
            self.tell("log", step=self.step, values={"loss": 0.6931})
            self.tell("step", step=self.step)
            if self.step % self.config["save_steps"] == 0:
                self.save(self.folder / f"checkpoint-{self.step}", total)
        self.fail("end")
        self.save(self.folder, total)
        (self.folder / "train_results.json").write_text("{}")

    def note(self, values: dict[str, Any]) -> None:
        values |= {"batch": self.batch, "options": self.options, "allocator": os.environ.get("PYTORCH_CUDA_ALLOC_CONF")}
        with (self.folder / "trained.jsonl").open("a") as file:
            file.write(json.dumps(values) + "\n")

    def save(self, folder: Path, total: int) -> None:
        write_lora(folder)
        if not self.asked.get("model_only"):
            zipfile.ZipFile(folder / "optimizer.pt", "w").close()
        history = [{"step": step + 1, "loss": 0.6931} for step in range(self.step)]
        state = {"global_step": self.step, "max_steps": total, "train_batch_size": self.batch, "log_history": history}
        (folder / "trainer_state.json").write_text(json.dumps(state))

    def fail(self, during: str) -> None:
        for item in self.asked["fail"]:
            is_here = self.step >= item["at"] and item.get("during", "training") == during
            if is_here and self.batch > item["above"] and item.get("without", "no option") not in self.options:
                self._fail(item["how"], during)

    def _fail(self, how: str, during: str) -> None:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "wait":
            (self.folder / "waits").touch()
            time.sleep(600)
        if how == "asked":
            (self.folder / ".stop.json").write_text('{"save": true}')
            self.tell("children", exit_codes=[3])
            sys.exit(143)
        kind, message = MESSAGES[how]
        memory = self.asked.get("memory", {"peak": 5, "device": "cpu"})
        told = {"during": self.asked.get("during", during), "memory": memory}
        self.tell("error", rank=0, chain=[{"type": kind, "message": message}], **told)
        sys.exit(1)


def main() -> None:
    config, events, *options = sys.argv[2:]
    Trainer(yaml.safe_load(Path(config).read_text()), Path(events), options).train()


if __name__ == "__main__":
    main()
