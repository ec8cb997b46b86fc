"""Why the engine failed, read from the end of its log."""

from __future__ import annotations

import re
from dataclasses import dataclass

GPU_MEMORY = "the GPU ran out of memory"
MAIN_MEMORY = "the system killed the engine (signal 9): most likely it ran out of main memory"


@dataclass(frozen=True)
class Failure:
    """Why the engine failed: what happened, and what to type or change."""

    what: str
    fix: str


# (pattern in the log, what, fix). The first match wins: specific before general.
_KNOWN = (
    (
        r"CUDA out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED",
        GPU_MEMORY,
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
        "a file of the model or the data is not on this machine, and the hub could not be reached",
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
        "try NCCL_P2P_DISABLE=1, or one GPU: CUDA_VISIBLE_DEVICES=0",
    ),
    (
        r"Tokenizer class \w+ does not exist",
        "the tokenizer was saved by a newer transformers than the engine has",
        "save it again with transformers 4.57, or use an engine that has transformers 5",
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
    for pattern, what, fix in _KNOWN:
        if re.search(pattern, log):
            return Failure(what, fix)
    if returncode in (-9, 137):
        return Failure(
            MAIN_MEMORY,
            "close other programs, or lower preprocessing_num_workers, cutoff_len or per_device_train_batch_size",
        )
    for line in reversed(log.replace("\r", "\n").splitlines()):
        match = _EXCEPTION.match(line.strip())
        if match and match["name"].rpartition(".")[2] not in _LAUNCHER:
            text = f": {match['text']}" if match["text"] else ""
            return Failure(f"LLaMA-Factory failed with {match['name']}{text}", "the log has the full traceback")
    return Failure(f"LLaMA-Factory ended with exit code {returncode}", "the end of the log says more")
