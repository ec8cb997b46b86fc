"""Read what LLaMA-Factory prints: progress bars, logged metrics, and the cause of a failure."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import Any

# tqdm: " 12%|█▏   | 6/50 [00:10<01:20,  1.8s/it]", with "name: " in front for anything but the trainer's own bars.
_BAR = re.compile(r"^(?P<name>.*?)\s*(?P<percent>\d{1,3})%\|[^|]*\|\s*(?P<done>\d+)/(?P<total>\d+) \[")
_TOTAL = re.compile(r"Total (?:optimization|training) steps = ([\d,]+)")
_BARE_NAN = re.compile(r"(?<=: )-?(?:nan|inf)(?=[,}])")
_DICT = re.compile(r"\{'[^{}]*\}")


@dataclass(frozen=True)
class Progress:
    """`done` of `total`. `phase`: "train" (optimizer steps), "eval" (batches), or the name the engine prints."""

    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Logged:
    """One dictionary of metrics, as the trainer printed it. Numbers only."""

    values: dict[str, float]

    @property
    def kind(self) -> str:
        """ "train" (has `loss`), "eval" (has `eval_loss`) or "summary" (the end of train)."""
        if "train_runtime" in self.values:
            return "summary"
        return "eval" if any(key.startswith("eval_") for key in self.values) else "train"


class OutputParser:
    """Turns lines into events; remembers which of the unnamed bars is the trainer's and which an evaluation's."""

    def __init__(self) -> None:
        self.total_steps: int | None = None
        self._phase = "train"

    def feed(self, line: str) -> list[Progress | Logged]:
        """The events in one line: there may be a metrics dictionary behind a progress bar."""
        if match := _TOTAL.search(line):
            self.total_steps = int(match.group(1).replace(",", ""))
        if "Running Evaluation" in line:
            self._phase = "eval"
        elif "Running training" in line or "Saving model checkpoint" in line:
            self._phase = "train"
        events: list[Progress | Logged] = []
        if match := _BAR.search(line):
            events.append(self._progress(match))
        if (values := parse_metrics(line)) is not None:
            logged = Logged(values)
            if logged.kind == "eval":
                self._phase = "train"
            events.append(logged)
        return events

    def _progress(self, match: re.Match[str]) -> Progress:
        name = match["name"].strip().rstrip(":")
        done, total = int(match["done"]), int(match["total"])
        if name:
            return Progress(name, done, total)
        return Progress("train" if self._phase == "train" and total == self.total_steps else "eval", done, total)


def parse_metrics(line: str) -> dict[str, float] | None:
    """The metrics dictionary in a line, or None. Values that are no numbers are left out; 'nan' stays NaN."""
    match = _DICT.search(line)
    if match is None:
        return None
    text = _BARE_NAN.sub(r"'\g<0>'", match.group())
    try:
        value: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(value, dict) or not (
        {"loss", "train_runtime"} & set(value) or any("eval_" in str(k) for k in value)
    ):
        return None
    numbers: dict[str, float] = {}
    for key, item in value.items():
        if isinstance(item, (int, float, str)) and not isinstance(item, bool):
            try:
                numbers[str(key)] = float(item)
            except ValueError:
                continue
    return numbers


@dataclass(frozen=True)
class Failure:
    """Why the engine failed, for the person: what happened and what to do."""

    what: str
    todo: str


# (pattern in the log, what, what to do). The first match wins: specific before general.
_KNOWN = (
    (
        r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED",
        "the GPU ran out of memory",
        "lower cutoff_len first (DPO keeps several copies of every token's logits), for example "
        "--set cutoff_len=1024, then per_device_train_batch_size",
    ),
    (
        r"No space left on device|Disk quota exceeded",
        "the disk is full",
        "free some space, then `rlguide train --resume`",
    ),
    (
        r"Cannot find valid samples",
        "no pair of the dataset could be used by the engine",
        "look at the file's roles and columns with `rlguide register`, which checks every row",
    ),
    (
        r"LocalEntryNotFoundError|ConnectionError|MaxRetryError|[cC]ouldn't connect to|OfflineModeIsEnabled",
        "a file of the model or data is not here and the hub could not be reached",
        "check the network, or set a mirror: export HF_ENDPOINT=https://hf-mirror.com",
    ),
    (
        r"GatedRepoError|401 Client Error|403 Client Error",
        "the hub refuses access to the model",
        "accept its licence on the model's page and set HF_TOKEN",
    ),
    (
        r"address already in use|EADDRINUSE",
        "the port of the distributed launcher is taken",
        "stop the other training, or set MASTER_PORT to a free port",
    ),
    (
        r"NCCL error|ncclInternalError|ncclSystemError",
        "the GPUs could not talk to each other (NCCL)",
        "try NCCL_P2P_DISABLE=1, or one card: CUDA_VISIBLE_DEVICES=0",
    ),
    (
        r"Tokenizer class \w+ does not exist",
        "the tokenizer was saved by a newer transformers than the engine has",
        "save it again with transformers 4.57, or use an engine with transformers 5",
    ),
)
_EXCEPTION = re.compile(
    r"^(?:\[rank\d+\]:\s*)?(?P<name>[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|NotFound))(?:: (?P<text>.*))?$"
)
_LAUNCHER = ("ChildFailedError", "CalledProcessError", "SignalException")


def explain_failure(log: str, returncode: int) -> Failure:
    """The cause of a failed run from its log: a known one, else the last exception that is not the launcher's.

    Args:
        log: the engine's output (its tail is enough).
        returncode: negative for a signal; -9 is most often the kernel's out-of-memory killer.
    """
    for pattern, what, todo in _KNOWN:
        if re.search(pattern, log):
            return Failure(what, todo)
    if returncode in (-9, 137):
        return Failure(
            "the system killed the engine (signal 9): most likely it ran out of main memory",
            "close other programs, or lower preprocessing_num_workers, cutoff_len or per_device_train_batch_size",
        )
    for line in reversed(log.replace("\r", "\n").splitlines()):
        match = _EXCEPTION.match(line.strip())
        if match and match["name"].rpartition(".")[2] not in _LAUNCHER:
            text = f": {match['text']}" if match["text"] else ""
            return Failure(f"LLaMA-Factory failed with {match['name']}{text}", "the log has the whole traceback")
    return Failure(f"LLaMA-Factory ended with exit code {returncode}", "the end of the log says more")
