"""Failures as users meet them: what the engine leaves in its log or tells, and the cause that must be named.

The chains of the hub are those that transformers 4.57.6 and huggingface_hub 0.36.2 raise against a server that answers
so, a proxy that refuses, and a certificate that nobody signed; the others are written after reports in the issues of
LLaMA-Factory, transformers, torch, DeepSpeed, bitsandbytes, safetensors and wandb, and after the libraries' source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from rlguide.engine.events import Raised
from rlguide.engine.failures import explain_failure

Link = tuple[str, str]
TOKENIZER = ("OSError", "Failed to load tokenizer.")
NO_CONNECTION = (
    "OSError",
    "We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.\n"
    "Check your internet connection or see how to run the library in offline mode at 'https://huggingface.co/docs'.",
)
NOT_LOCAL = (
    "huggingface_hub.errors.LocalEntryNotFoundError",
    "An error happened while trying to locate the file on the Hub and we cannot find the requested files in the local"
    " cache. Please check your connection and try again or make sure your Internet connection is on.",
)
POOL = "HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /a/b/resolve/main/x.json"
TABLE = """
E1126 02:11:04.617 93000 torch/distributed/elastic/api.py:984] failed (exitcode: {code}) of binary: python
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
  <NO_OTHER_FAILURES>
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-26_02:11:04
  rank      : 0 (local_rank: 0)
  exitcode  : {code} (pid: 93043)
  error_file: <N/A>
  traceback : {traceback}
============================================================
"""
KILLED = TABLE.format(code=-9, traceback="Signal 9 (SIGKILL) received by PID 93043")
RAISED = TABLE.format(code=1, traceback="To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html")
WATCHDOG = """
[rank5]:[E1126 11:17:52.185053341 ProcessGroupNCCL.cpp:689] [Rank 5] Watchdog caught collective operation timeout: \
WorkNCCL(SeqNum=1580, OpType=ALLREDUCE, NumelIn=466119168, Timeout(ms)=600000) ran for 600004 milliseconds.
[rank5]:[E1126 11:17:52.539400006 ProcessGroupNCCL.cpp:1709] [PG 1 Rank 5] Timeout at NCCL work: 1580
terminate called after throwing an instance of 'c10::DistBackendError'
  what():  [PG ID 0 PG GUID 0(default_pg) Rank 5] Process group watchdog thread terminated with exception: [Rank 5]
"""


def traceback(*lines: str, rank: int | None = None) -> str:
    """A traceback as Python prints it, with the prefix that torchrun puts before each line of a process."""
    prefix = "" if rank is None else f"[rank{rank}]: "
    head = ["Traceback (most recent call last):", '  File "run_exp.py", line 132, in _training_function']
    return "".join(f"{prefix}{line}\n" for line in [*head, *lines])


@dataclass(frozen=True)
class Case:
    """What is left of a failure. `cause` and `fix`: words that must be in what is said, `never`: one that must not."""

    cause: str
    chain: tuple[Link, ...] = ()
    log: str = ""
    code: int = 1
    children: tuple[int, ...] = ()
    fix: str = ""
    never: str = "\0"

    @property
    def raised(self) -> list[Raised]:
        """What the worker told."""
        told = [Raised(self.chain)] if self.chain else []
        return [*told, Raised(exit_codes=self.children)] if self.children else told


CASES = {
    "a child of torchrun is killed": Case("main memory", log=KILLED, code=137, children=(-9,)),
    "a child is killed, as llamafactory-cli leaves it": Case("main memory", log=traceback("x") + KILLED),
    "killed between two steps": Case("main memory", log=" 34%|###  | 1700/5000 [2:01:11<3:55:10, 4.28s/it]", code=-9),
    "a job's memory limit": Case("main memory", log="slurmstepd: error: Detected 1 oom_kill event in step", code=-9),
    "a child raises, and torchrun says so": Case(
        "GPU ran out of memory",
        log=traceback("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB.", rank=1) + RAISED,
    ),
    "the watchdog of NCCL": Case("waited for each other", log=WATCHDOG, code=134, children=(-6, -15, -15)),
    "the watchdog, as llamafactory-cli leaves it": Case("waited for each other", log=WATCHDOG, code=-6),
    "NCCL cannot talk": Case(
        "could not talk to each other",
        (("torch.distributed.DistBackendError", "NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled system error"),),
    ),
    "one process fails, another loses it": Case(
        "disk is full",
        (("OSError", "[Errno 28] No space left on device: 'saves/x/checkpoint-30'"),),
        log="[rank1]:[W1126 ProcessGroupNCCL.cpp:1] recvValue failed on SocketImpl: Connection reset by peer\n",
        children=(1, -15),
    ),
    "segmentation fault in a child": Case("segmentation fault", code=139, children=(-11,)),
    "segmentation fault alone": Case(
        "segmentation fault",
        log="Fatal Python error: Segmentation fault\n\nThread 0x0 (most recent call first):",
        code=-11,
    ),
    "a scheduler stops torchrun": Case(
        "asked to stop",
        (("torch.distributed.elastic.multiprocessing.api.SignalException", "Process 153929 got signal: 15"),),
        fix="run the same command again",
    ),
    "a scheduler stops torchrun, in the log": Case(
        "asked to stop",
        log=traceback("torch.distributed.elastic.multiprocessing.api.SignalException: Process 153929 got signal: 15"),
    ),
    "a terminal closes over torchrun": Case(
        "terminal was closed",
        (("torch.distributed.elastic.multiprocessing.api.SignalException", "Process 153929 got signal: 1"),),
    ),
    "a scheduler stops one process": Case("asked to stop", log="slurmstepd: error: *** JOB 1 CANCELLED ***", code=-15),
    "a certificate that nobody signed": Case(
        "certificate",
        (
            TOKENIZER,
            (
                "requests.exceptions.SSLError",
                f"(MaxRetryError(\"{POOL} (Caused by SSLError(SSLCertVerificationError(1, '[SSL:"
                " CERTIFICATE_VERIFY_FAILED]"
                " certificate verify failed: self-signed certificate (_ssl.c:1006)')))\"), '(Request ID: 8e)')",
            ),
            ("ssl.SSLCertVerificationError", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"),
        ),
    ),
    "a certificate behind a lost connection": Case(
        "certificate",
        (NO_CONNECTION, NOT_LOCAL, ("requests.exceptions.SSLError", f"{POOL} (CERTIFICATE_VERIFY_FAILED)")),
    ),
    "a proxy that refuses": Case(
        "proxy",
        (
            TOKENIZER,
            (
                "requests.exceptions.ProxyError",
                f"(MaxRetryError('{POOL} (Caused by ProxyError(\\'Unable to connect to proxy\\', NewConnectionError("
                "\"HTTPSConnection(host=\\'127.0.0.1\\', port=9): [Errno 111] Connection"
                " refused\")))'), '(Request ID: 63)')",
            ),
        ),
        fix="https_proxy",
    ),
    "too many requests": Case(
        "too many requests",
        (
            TOKENIZER,
            NO_CONNECTION,
            NOT_LOCAL,
            ("huggingface_hub.errors.HfHubHTTPError", "429 Client Error: Too Many Requests for url: https://hf/a/b"),
        ),
    ),
    "no network": Case(
        "could not be reached",
        (
            NO_CONNECTION,
            NOT_LOCAL,
            ("requests.exceptions.ConnectionError", f"{POOL} (Caused by NameResolutionError(...))"),
            ("socket.gaierror", "[Errno -2] Name or service not known"),
        ),
    ),
    "a misspelt id": Case(
        "no repository of that name",
        (
            TOKENIZER,
            (
                "OSError",
                "qwen/nope is not a local folder and is not a valid model identifier listed on"
                " 'https://huggingface.co'\n"
                "If this is a private repository, make sure to pass a token having permission to this repo",
            ),
            (
                "huggingface_hub.errors.RepositoryNotFoundError",
                "401 Client Error. (Request ID: Root=1-6)\n\nRepository Not Found for url:"
                " https://huggingface.co/qwen/nope."
                "\nPlease make sure you specified the correct `repo_id` and `repo_type`.\nIf you are trying to access a"
                " private or gated repo, make sure you are authenticated.",
            ),
        ),
    ),
    "a gated model without a token": Case(
        "gated",
        (
            TOKENIZER,
            (
                "OSError",
                "You are trying to access a gated repo.\nMake sure to have access to it at"
                " https://huggingface.co/a/b.\n"
                "401 Client Error.\n\nCannot access gated repo for url"
                " https://huggingface.co/a/b/resolve/main/config.json."
                "\nAccess to model a/b is restricted. You must have access to it and be authenticated to access it.",
            ),
        ),
    ),
    "a gated model whose licence is not accepted": Case(
        "gated",
        (
            (
                "OSError",
                "You are trying to access a gated repo.\nMake sure to have access to it at"
                " https://huggingface.co/a/b.\n"
                "403 Client Error.\n\nCannot access gated repo for url"
                " https://huggingface.co/a/b/resolve/main/config.json."
                "\nAccess to model a/b is restricted and you are not in the authorized list. Visit"
                " it to ask for access.",
            ),
        ),
    ),
    "a token that is not valid": Case(
        "refuses access",
        (
            TOKENIZER,
            (
                "OSError",
                "There was a specific connection error when trying to load a/b:\n401 Client Error:"
                " Unauthorized for url:"
                " https://huggingface.co/a/b/resolve/main/config.json\n\nInvalid credentials in Authorization header",
            ),
        ),
    ),
    "another process holds the GPU": Case(
        "another process",
        (
            (
                "torch.OutOfMemoryError",
                "CUDA out of memory. Tried to allocate 1.16 GiB. GPU 0 has a total capacity of"
                " 79.15 GiB of which 1.02 GiB"
                " is free. Process 12345 has 70.21 GiB memory in use. Including non-PyTorch memory,"
                " this process has 7.91"
                " GiB memory in use. Of the allocated memory 7.11 GiB is allocated by PyTorch.",
            ),
        ),
    ),
    "the GPU is too small": Case(
        "the GPU ran out of memory",
        (
            (
                "torch.OutOfMemoryError",
                "CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of"
                " 47.54 GiB of which 1.21 GiB"
                " is free. Including non-PyTorch memory, this process has 46.32 GiB memory in use.",
            ),
        ),
        never="another process",
    ),
    "cuBLAS finds no memory": Case(
        "GPU ran out of memory",
        (("RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),),
    ),
    "a Mac's memory": Case(
        "GPU ran out of memory",
        (("RuntimeError", "MPS backend out of memory (MPS allocated: 17.17 GB, other allocations: 640 KB)."),),
    ),
    "an NPU's memory": Case(
        "GPU ran out of memory", (("RuntimeError", "NPU out of memory. Tried to allocate 2.00 GiB (NPU 0; 29.50 GiB)"),)
    ),
    "no kernels for the GPU": Case(
        "no kernels",
        (("torch.AcceleratorError", "CUDA error: no kernel image is available for execution on the device"),),
    ),
    "no GPU at all": Case(
        "sees no GPU", (("RuntimeError", "No CUDA GPUs are available"),), fix="rlguide doctor --deep"
    ),
    "no driver": Case("sees no GPU", (("RuntimeError", "Found no NVIDIA driver on your system. Please check that"),)),
    "a torch without CUDA": Case("sees no GPU", (("AssertionError", "Torch not compiled with CUDA enabled"),)),
    "no bfloat16": Case(
        "bfloat16",
        (("ValueError", "Your setup doesn't support bf16/gpu. You need Ampere+ GPU with cuda>=11.0"),),
        fix="fp16",
    ),
    "bitsandbytes is missing": Case(
        "bitsandbytes",
        (
            (
                "ImportError",
                "Using `bitsandbytes` 4-bit quantization requires the latest version of bitsandbytes:"
                " `pip install -U bitsandbytes`",
            ),
        ),
    ),
    "bitsandbytes finds no CUDA": Case(
        "bitsandbytes does not work",
        (
            (
                "RuntimeError",
                "\n        CUDA Setup failed despite GPU being available. Please run the following command to get more"
                " information:\n\n        python -m bitsandbytes",
            ),
        ),
        fix="python -m bitsandbytes",
    ),
    "bitsandbytes has no library": Case(
        "bitsandbytes does not work",
        (("AttributeError", "'NoneType' object has no attribute 'cquantize_blockwise_fp16_nf4'"),),
    ),
    "flash-attn is missing": Case(
        "flash-attn",
        (
            (
                "ImportError",
                "FlashAttention2 has been toggled on, but it cannot be used due to the following error: the package"
                " flash_attn seems to be not installed.",
            ),
        ),
        fix="flash_attn=auto",
    ),
    "flash-attn is of another torch": Case(
        "built for another torch",
        (
            (
                "ImportError",
                "/x/flash_attn_2_cuda.cpython-311-x86_64-linux-gnu.so: undefined symbol: _ZN3c104cuda9SetDevice",
            ),
        ),
        never="missing",
    ),
    "a library of CUDA is missing": Case(
        "system library",
        (("ImportError", "libcudart.so.12: cannot open shared object file: No such file or directory"),),
    ),
    "DeepSpeed cannot compile": Case(
        "compile",
        (
            ("RuntimeError", "Error building extension 'cpu_adam'"),
            ("subprocess.CalledProcessError", "Command '['ninja', '-v']' returned non-zero exit status 1."),
        ),
        fix="CUDA_HOME",
    ),
    "DeepSpeed finds no CUDA": Case(
        "compile",
        (
            (
                "deepspeed.ops.op_builder.builder.MissingCUDAException",
                "CUDA_HOME does not exist, unable to compile CUDA op(s)",
            ),
        ),
    ),
    "the port is taken": Case(
        "port",
        (
            (
                "torch.distributed.DistNetworkError",
                "The server socket has failed to listen on any local network address. port: 29500,"
                " useIpv6: false, code:"
                " -98, name: EADDRINUSE, message: address already in use",
            ),
        ),
    ),
    "the disk is full": Case(
        "disk is full", (("OSError", "[Errno 28] No space left on device"),), fix="run the same command again"
    ),
    "the disk is full, for safetensors": Case(
        "disk is full",
        (
            (
                "safetensors_rust.SafetensorError",
                'Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "No'
                ' space left on device" })',
            ),
        ),
    ),
    "the disk is full, for torch": Case(
        "disk is full",
        (
            ("RuntimeError", "[enforce fail at inline_container.cc:664] . unexpected pos 576 vs 470"),
            (
                "RuntimeError",
                "[enforce fail at inline_container.cc:860] . PytorchStreamWriter failed writing file data/5",
            ),
        ),
    ),
    "the disk cannot be written": Case(
        "cannot be written", (("OSError", "[Errno 30] Read-only file system: 'saves/x/checkpoint-30'"),)
    ),
    "shared memory": Case(
        "data loader",
        (
            (
                "RuntimeError",
                "DataLoader worker (pid 3002) is killed by signal: Bus error. It is possible that"
                " dataloader's workers are"
                " out of shared memory. Please try to raise your shared memory limit.",
            ),
        ),
    ),
    "a bus error": Case("shared memory", log="Bus error (core dumped)", code=-7),
    "a bus error in a child": Case("shared memory", code=135, children=(-7,)),
    "a tokenizer of a newer transformers": Case(
        "newer transformers",
        (TOKENIZER, ("ValueError", "Tokenizer class TokenizersBackend does not exist or is not currently imported.")),
    ),
    "sentencepiece is missing": Case(
        "sentencepiece",
        (
            TOKENIZER,
            (
                "ValueError",
                "Cannot instantiate this tokenizer from a slow version. If it's based on"
                " sentencepiece, make sure you have"
                " sentencepiece installed.",
            ),
        ),
        fix="install",
    ),
    "tiktoken or protobuf is missing": Case(
        "sentencepiece",
        (TOKENIZER, ("ValueError", "Converting from SentencePiece and Tiktoken failed, if a converter is available")),
        fix="install",
    ),
    "a protobuf that is too new": Case(
        "protobuf", (("TypeError", "Descriptors cannot be created directly.\nIf this call"),)
    ),
    "a model that is too new": Case(
        "does not know this kind of model",
        (
            (
                "ValueError",
                "The checkpoint you are trying to load has model type `qwen9` but Transformers does not recognize this"
                " architecture.",
            ),
            ("KeyError", "'qwen9'"),
        ),
    ),
    "an early failure that did no harm": Case(
        "Undefined dataset",
        log=traceback(f"requests.exceptions.ConnectionError: {POOL}")
        + "[WARNING] retrying from the cache\n"
        + traceback("ValueError: Undefined dataset nope in dataset_info.json."),
    ),
    "wandb is not logged in": Case(
        "wandb",
        (("wandb.errors.errors.UsageError", "api_key not configured (no-tty). call wandb.login(key=[your_api_key])"),),
        fix="--report-to none",
    ),
    "a column is missing": Case(
        "column",
        (("KeyError", "'chosen'"), ("multiprocess.pool.RemoteTraceback", '\n"""\nTraceback (most recent call last):')),
        fix="rlguide register",
    ),
    "a data file that is not JSON": Case(
        "file of the dataset",
        (
            ("datasets.exceptions.DatasetGenerationError", "An error occurred while generating the dataset"),
            ("pyarrow.lib.ArrowInvalid", "JSON parse error: Missing a closing quotation mark in string. in row 20"),
        ),
    ),
    "an adapter of another base": Case(
        "does not fit the base",
        (
            (
                "RuntimeError",
                "Error(s) in loading state_dict for PeftModelForCausalLM:\n\tsize mismatch for"
                " base_model.model.q_proj: copying"
                " a param with shape torch.Size([16, 2560]), the shape in current model is torch.Size([16, 4096]).",
            ),
        ),
    ),
    "a pickle that torch refuses": Case(
        "refuses",
        (
            (
                "_pickle.UnpicklingError",
                "Weights only load failed. This file can still be loaded, to do so you have two"
                " options, do those steps only"
                " if you trust the source of the checkpoint.",
            ),
        ),
        never="LLaMA-Factory failed",
    ),
    "weights as a pickle, and an old torch": Case(
        "safetensors",
        (
            (
                "ValueError",
                "Due to a serious vulnerability issue in `torch.load`, even with `weights_only=True`, we now",
            ),
        ),
    ),
    "weights cut short": Case(
        "damaged or cut short",
        (("RuntimeError", "PytorchStreamReader failed reading zip archive: failed finding central directory"),),
    ),
    "nobody knows what is wrong with a tokenizer": Case(
        "Failed to load tokenizer., after TypeError: not a string", (TOKENIZER, ("TypeError", "not a string"))
    ),
    "nobody knows": Case(
        "RuntimeError: something new", (("RuntimeError", "something new"),), log=RAISED, children=(1,)
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_cause_is_named(name: str) -> None:
    case = CASES[name]
    failure = explain_failure(case.log, case.code, case.raised)
    assert case.cause in failure.what
    assert case.fix in failure.fix
    assert case.never not in failure.what


def test_no_fix_is_left_with_a_gap() -> None:
    for case in CASES.values():
        failure = explain_failure(case.log, case.code, case.raised, "`rlguide train --resume x`")
        assert not {"{again}", "{exception}"} & {*re.findall(r"\{\w+\}", f"{failure.what} {failure.fix}")}
    assert explain_failure("", -15, again="do it").fix == "do it"
