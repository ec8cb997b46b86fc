"""Why the engine failed: the cause of the last attempt's last exception, never what a launcher or a prompt says.

The messages are those of the libraries, shortened.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.engine.events import Raised
from rlguide.engine.failures import explain_failure


@given(st.text(), st.integers(-64, 255))
def test_any_log_is_survived(text: str, code: int) -> None:
    failure = explain_failure(text, code)
    assert failure.what
    assert failure.fix
    explain_failure("Traceback (most recent call last):\n" + text, code, [Raised((("A", text),))])


def traceback(*lines: str) -> str:
    return "\n".join(["Traceback (most recent call last):", '  File "x.py", line 1, in <module>', *lines])


TORCHRUN = """
[rank0]: Traceback (most recent call last):
[rank0]:   File "launcher.py", line 1, in <module>
[rank0]: ValueError: Undefined dataset nope in dataset_info.json.
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
subprocess.CalledProcessError: Command '['torchrun', '--nnodes', '1']' returned non-zero exit status 1.
"""


def test_the_cause_is_not_the_launcher() -> None:
    failure = explain_failure(TORCHRUN, 1)
    assert "Undefined dataset nope" in failure.what
    assert "torchrun" not in failure.what


@pytest.mark.parametrize(
    ("log", "code", "words"),
    [
        (
            "    raise x\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
            1,
            "GPU ran out of memory",
        ),
        ("    raise x\nOSError: [Errno 28] No space left on device", 1, "disk is full"),
        ("some log", -9, "main memory"),
        ("no hint at all", 3, "exit code 3"),
    ],
)
def test_known_causes(log: str, code: int, words: str) -> None:
    assert words in explain_failure(log, code).what


def test_a_prompt_in_the_log_explains_nothing() -> None:
    prompt = "<|im_start|>user\ntorch.OutOfMemoryError: CUDA out of memory. What is that?"
    log = prompt + "\n" + traceback("ValueError: Undefined dataset nope")
    assert "Undefined dataset nope" in explain_failure(log, 1).what
    told = [Raised((("ValueError", "Undefined dataset nope"),))]
    assert "Undefined dataset nope" in explain_failure(traceback("CUDA out of memory") + prompt, 1, told).what


def test_an_early_error_that_was_handled_does_not_win() -> None:
    log = traceback("requests.exceptions.ConnectionError: Max retries exceeded") + "\nretrying from the cache\n"
    log += traceback("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.5 GiB")
    assert explain_failure(log, 1).what == "the GPU ran out of memory"


def test_a_message_of_several_lines_is_read_whole() -> None:
    log = traceback("RuntimeError: Error(s) in loading state_dict for Qwen3:", "\tsize mismatch for x: [8, 4], [8, 2]")
    assert "does not fit the base" in explain_failure(log, 1).what


def test_the_cause_behind_the_last_exception_counts() -> None:
    first = traceback("OSError: [Errno 28] No space left on device")
    last = traceback("RuntimeError: could not save")
    log = f"{first}\n\nDuring handling of the above exception, another exception occurred:\n\n{last}"
    assert explain_failure(log, 1).what == "the disk is full"
    assert "could not save" in explain_failure(f"{first}\n{last}", 1).what


@pytest.mark.parametrize(
    ("codes", "words"),
    [((-9, 1), "signal 9"), ((-11,), "segmentation fault"), ((-15,), "signal 15"), ((-6,), "signal 6")],
)
def test_a_process_of_torchrun_that_was_killed(codes: tuple[int, ...], words: str) -> None:
    assert words in explain_failure("", 1, [Raised(exit_codes=codes)]).what
    assert words in explain_failure(f"{TORCHRUN_TABLE}  exitcode  : {codes[0]} (pid: 4711)\n", 1).what


TORCHRUN_TABLE = """
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
Root Cause (first observed failure):
  rank      : 1 (local_rank: 1)
"""


def test_the_process_that_failed_is_the_cause_not_those_that_lost_it() -> None:
    lost = Raised((("torch.distributed.DistBackendError", "Connection closed by peer"),))
    failed = Raised((("torch.OutOfMemoryError", "CUDA out of memory."),))
    assert explain_failure("", 1, [lost, failed]).what == "the GPU ran out of memory"


@pytest.mark.parametrize(
    ("kind", "message", "words"),
    [
        ("requests.exceptions.SSLError", "CERTIFICATE_VERIFY_FAILED: unable to get local issuer", "certificate"),
        ("OSError", "qwen/nope is not a local folder and is not a valid model identifier listed on", "no repository"),
        (
            "torch.OutOfMemoryError",
            "CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has a total capacity of 47.5 GiB. Process 99 has 40.1"
            " GiB memory in use. Including non-PyTorch memory, this process has 6.1 GiB memory in use.",
            "another process",
        ),
        (
            "RuntimeError",
            "Some tensors share memory, this will lead to duplicate memory on disk and potential differences when"
            " loading them again: [{'model.embed_tokens.weight', 'lm_head.weight'}].",
            "cannot save a reward model",
        ),
        ("RuntimeError", "DataLoader worker (pid 7) is killed by signal: Killed.", "data loader"),
        ("RuntimeError", "NCCL error in: x, unhandled system error, ncclSystemError", "NCCL"),
        ("safetensors_rust.SafetensorError", "Error while deserializing header: incomplete metadata", "damaged"),
        (
            "huggingface_hub.errors.LocalEntryNotFoundError",
            "outgoing traffic has been disabled",
            "could not be reached",
        ),
        ("ConnectionError", "Couldn't reach 'google/IFEval' on the Hub (OfflineModeIsEnabled)", "HF_HUB_OFFLINE"),
        ("RuntimeError", "Dataset scripts are no longer supported, but found cmmlu.py", "a script on the hub"),
        ("datasets.exceptions.DatasetNotFoundError", "Dataset 'x/y' is a gated dataset on the Hub.", "gated"),
        ("LookupError", "\n****\n  Resource punkt_tab not found.\n", "NLTK"),
    ],
)
def test_kinds_are_told_apart(kind: str, message: str, words: str) -> None:
    assert words in explain_failure("", 1, [Raised(((kind, message),))]).what


def test_the_watchdog_of_nccl_is_named() -> None:
    line = "[rank1]:[E1126 02:11:04.1 ProcessGroupNCCL.cpp:629] Watchdog caught collective operation timeout: x"
    assert "waited for each other" in explain_failure(f"a prompt\n{line}\n", -6, [Raised(exit_codes=(-6, -15))]).what
    assert (
        "signal 6"
        in explain_failure("Watchdog caught collective operation timeout", -6, [Raised(exit_codes=(-6,))]).what
    )


@pytest.mark.parametrize(
    ("kind", "message", "memory"),
    [
        ("torch.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.32 GiB.", "gpu"),
        ("torch.cuda.OutOfMemoryError", "anything", "gpu"),
        ("RuntimeError", "CUDA error: out of memory", "gpu"),
        ("RuntimeError", "CUDA driver error: out of memory", "gpu"),
        ("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "gpu"),
        ("RuntimeError", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "gpu"),
        ("RuntimeError", "NPU out of memory. Tried to allocate 2.00 GiB (NPU 0; 29.50 GiB total capacity", "gpu"),
        ("torch.OutOfMemoryError", "HIP out of memory. Tried to allocate 20.00 MiB.", "gpu"),
        (
            "torch.distributed.DistBackendError",
            "NCCL error in: NCCLUtils.cpp:77, unhandled cuda error, NCCL version 2.21.5\nncclUnhandledCudaError: Call"
            " to CUDA function failed.\nLast error:\nCuda failure 2 'out of memory'",
            "gpu",
        ),
        ("RuntimeError", "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you", "main"),
        ("MemoryError", "", "main"),
        ("OSError", "[Errno 12] Cannot allocate memory", "main"),
        ("ImportError", "libavcodec-49be5967.so.62.11.100: failed to map segment from shared object", "main"),
        ("ImportError", "x.so: failed to map segment from shared object: Operation not permitted", ""),
        ("RuntimeError", "DataLoader worker (pid 7) is killed by signal: Killed.", "main"),
        ("OSError", "[Errno 28] No space left on device", ""),
        ("RuntimeError", "CUDA error: device-side assert triggered", ""),
        ("ValueError", "Undefined dataset nope", ""),
    ],
)
def test_which_failures_are_a_lack_of_memory_and_of_which(kind: str, message: str, memory: str) -> None:
    failure = explain_failure("", 1, [Raised(((kind, message),))])
    assert failure.memory == memory
    assert not memory or failure.message == message
    reraised = Raised((("transformers.SomeError", "a step failed"), (kind, message)))
    assert explain_failure("", 1, [reraised]).memory == memory


def test_a_process_that_was_killed_lacked_main_memory() -> None:
    assert explain_failure("", -9).memory == "main"
    assert explain_failure("", 137, [Raised(exit_codes=(-9,))]).memory == "main"
    lost = Raised((("RuntimeError", "[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1234"),))
    assert explain_failure("", 1, [lost, Raised(exit_codes=(1, -9))]).memory == "main"


def test_processes_that_torchrun_ends_are_not_the_cause() -> None:
    """It sends signal 15, then 9, to those that are left when one has failed."""
    failed = Raised((("ValueError", "something new"),))
    for codes in ((1, -15), (-15, 1), (1, -9), (-9, 1)):
        for ended in (1, 137, 143):  # of rlguide_worker/train.py, which sums up those of its processes
            assert "something new" in explain_failure("", ended, [failed, Raised(exit_codes=codes)]).what
    assert "signal 11" in explain_failure("", 1, [Raised(exit_codes=(-15, -11))]).what


def test_a_prompt_does_not_say_why_a_process_was_killed() -> None:
    """What is killed prints nothing of it."""
    prompt = traceback("ValueError: Undefined dataset nope")
    assert explain_failure(prompt, -9).memory == "main"


def test_nothing_of_a_message_acts_on_the_screen() -> None:
    assert "\x1b" not in explain_failure("", 1, [Raised((("ValueError", "a\x1b[2Jb"),))]).what
