"""Failures of the field in the form in which the engine leaves them: below progress bars, between other processes.

Each case is explained three ways: as a worker tells it, from the log of one process, and from the log of two under
torchrun of which the other only lost its peer. A prompt in the log that looks like another error changes nothing, and
of a log without a failure nothing is said.
"""

from __future__ import annotations

import random
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rlguide.engine.config_file import parse_settings
from rlguide.engine.events import Raised
from rlguide.engine.failures import _entries, explain_failure
from rlguide.engine.find import find_engine
from rlguide.engine.schema import load_schema
from tests.engine.test_real_failures import CASES as OTHERS

Link = tuple[str, str]
STEPS = 40


@dataclass(frozen=True)
class Case:
    """A failure: the exceptions, the last one first; what a kernel printed before; what must be said."""

    name: str
    chain: tuple[Link, ...]
    before: str
    what: str
    fix: str


def read_cases() -> list[Case]:
    content: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("failure_cases.yaml").read_text("utf-8"))
    return [
        Case(
            item["name"],
            tuple((str(kind), str(message)) for kind, message in filter(None, (item["raised"], item.get("behind")))),
            item.get("before", ""),
            item["what"],
            item.get("fix", ""),
        )
        for item in content
    ]


CASES = {case.name: case for case in read_cases()}

PROMPT = """\
training example:
chosen_input_ids:
[151644, 872, 198, 10234, 374, 419, 1465, 30]
chosen_inputs:
<|im_start|>user
Why does my script end like this, and what is NCCL error, ncclSystemError?
Traceback (most recent call last):
  File "/home/me/train.py", line 3, in <module>
    main()
OSError: [Errno 28] No space left on device
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.<|im_end|>
chosen_labels:
OSError: [Errno 122] Disk quota exceeded
"""
HEAD = """\
[INFO|2026-11-26 02:00:01] llamafactory.hparams.parser:523 >> Process rank: 0, world size: 1, device: cuda:0
[INFO|tokenization_utils_base.py:2109] 2026-11-26 02:00:02,899 >> loading file tokenizer.json
[INFO|2026-11-26 02:00:03] llamafactory.data.loader:143 >> Loading dataset pairs.parquet...
"""
MIDDLE = """\
[INFO|configuration_utils.py:763] 2026-11-26 02:00:05,910 >> loading configuration file models/base/config.json
[WARNING|2026-11-26 02:00:06] llamafactory.model.model_utils.checkpointing:149 >> Gradient checkpointing enabled.
[INFO|trainer.py:2519] 2026-11-26 02:00:09,001 >> ***** Running training *****
[INFO|trainer.py:2520] 2026-11-26 02:00:09,001 >>   Num examples = 320
"""
# What ordinary runs print, and only looks like a failure.
ORDINARY = [
    *HEAD.splitlines(),
    *MIDDLE.splitlines(),
    "{'loss': 0.6931, 'grad_norm': 2.31, 'learning_rate': 5e-06, 'rewards/accuracies': 0.5, 'epoch': 0.1}",
    "[rank0]:[W1126 02:00:04.1 ProcessGroupNCCL.cpp:4718] Using GPU 0 to perform barrier; this can hang.",
    "node1:93:93 [0] NCCL INFO NET/Plugin: Plugin load returned 2 : libnccl-net.so: cannot open shared object file: No"
    " such file or directory : when loading libnccl-net.so",
    "/opt/env/lib/python3.11/site-packages/torch/cuda/__init__.py:61: FutureWarning: The pynvml package is deprecated.",
    "UserWarning: CUDA initialization: The NVIDIA driver on your system is too old (found version 11040).",
    "W0000 00:00:17 cpu_feature_guard.cc] Could not load dynamic library 'libcudart.so.11'; dlerror: libcudart.so.11:"
    " cannot open shared object file: No such file or directory",
    "Retrying in 1s [Retry 1/5]. HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url",
    "xFormers wasn't build with CUDA support, its kernels are not used",
    "[2026-11-26 02:00:01,120] [INFO] [real_accelerator.py:222:get_accelerator] Setting ds_accelerator to cuda",
    " [WARNING]  async_io requires the dev libaio .so object and headers but these were not found.",
    "wandb: WARNING Disabling the wandb service, no API key configured",
    "[WARNING|logging.py:328] 2026-11-26 02:00:07 >> `trust_remote_code=True` is not needed for this model",
    "Saving model checkpoint to saves/x/checkpoint-10; free space on device: 12 GB",
    "100%|██████████| 40/40 [00:21<00:00,  1.87it/s]",
    "Tokenizing: the error 'CUDA out of memory' is explained in row 7",
    "ValueError: this is what a reviewer wrote in the data",
    "MemoryError is not an error of mine, says the prompt",
    "",
]


def bar(step: int) -> str:
    return f"\r{100 * step // STEPS:3d}%|{'█' * (step // 4):10}| {step}/{STEPS} [00:{step:02d}<00:20,  1.9it/s]"


def frames(kind: str, message: str) -> list[str]:
    return [
        "Traceback (most recent call last):",
        '  File "/opt/env/lib/python3.11/site-packages/llamafactory/train/tuner.py", line 110, in _training_function',
        "    run_dpo(model_args, data_args, training_args, finetuning_args, callbacks)",
        '  File "/opt/env/lib/python3.11/site-packages/transformers/trainer.py", line 2674, in _inner_training_loop',
        "    tr_loss_step = self.training_step(model, inputs, num_items_in_batch)",
        "                   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^",
        *f"{kind}: {message}".splitlines(),
    ]


def tracebacks(chain: tuple[Link, ...]) -> list[str]:
    cause = "The above exception was the direct cause of the following exception:"
    lines: list[str] = []
    for link in reversed(chain):
        lines += ["", cause, ""] if lines else []
        lines += frames(*link)
    return lines


def of_one_process(case: Case) -> str:
    """One process: a prompt, progress bars that overwrite each other, the traceback."""
    bars = "".join(map(bar, range(1, 18)))
    return "\n".join([HEAD + PROMPT + MIDDLE, bars, case.before, *tracebacks(case.chain)]) + "\n"


LOST = "torch.distributed.DistBackendError", "[1] is setting up NCCL communicator: Connection reset by peer"
TABLE = """\
E1126 02:11:04.617 93000 torch/distributed/elastic/multiprocessing/api.py:874] failed (exitcode: 1) local_rank: 0
Traceback (most recent call last):
  File "/opt/env/bin/torchrun", line 8, in <module>
    sys.exit(main())
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  rank      : 0 (local_rank: 0)
  exitcode  : 1 (pid: 93043)
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
"""


def of_two_processes(case: Case) -> str:
    """Under torchrun: both print at once, line by line; one of them only lost the other."""
    waiting = [
        [f"[rank{rank}]: {line}" for line in tracebacks(chain)] for rank, chain in ((1, (LOST,)), (0, case.chain))
    ]
    mixed, order = [], random.Random(case.name)
    while any(waiting):
        mixed.append(order.choice([lines for lines in waiting if lines]).pop(0))
    before = f"[rank0]: {case.before}" if case.before else ""
    return "\n".join([HEAD + PROMPT + MIDDLE, bar(3), before, *mixed, TABLE])


@pytest.mark.parametrize("name", CASES)
def test_the_cause_is_named_in_each_form(name: str) -> None:
    case = CASES[name]
    told = [Raised((LOST,)), Raised(case.chain)]
    for log, raised in (
        (of_one_process(case), []),
        (of_two_processes(case), []),
        (HEAD + PROMPT + MIDDLE + case.before, told),
    ):
        failure = explain_failure(log, 1, raised, again="`rlguide train --resume saves/x`")
        assert case.what in failure.what
        assert case.fix in failure.fix
        assert "{" not in failure.what.replace(case.chain[0][1], "") or "exception" not in failure.what
        assert "{again}" not in failure.fix


def test_there_are_many_and_no_cause_is_never_met() -> None:
    """Each entry is met by a case: none stands where another always wins."""
    assert len(CASES) >= 80
    said = [explain_failure("", 1, [Raised(case.chain)]).what for case in CASES.values()]
    said += [explain_failure(of_one_process(case), 1).what for case in CASES.values() if case.before]
    said += [explain_failure(case.log, case.code, case.raised).what for case in OTHERS.values()]
    said += [explain_failure("", code).what for code in (-4, -6, -2, 129, 130, 132)]
    said += [explain_failure("", 1, [Raised((link,))]).what for link in MORE]
    starts = [re.escape(entry["what"]).replace(re.escape("{exception}"), ".*") for entry in _entries()]
    assert [start for start in starts if not any(re.fullmatch(start, what, re.DOTALL) for what in said)] == []


# Of entries whose cases stand in test_failures.py.
MORE: list[Link] = [
    ("MemoryError", ""),
    ("RuntimeError", "Some tensors share memory, this will lead to duplicate memory on disk"),
    ("PermissionError", "[Errno 13] Permission denied: 'saves/x'"),
    ("ConnectionError", "Couldn't reach 'google/IFEval' on the Hub (OfflineModeIsEnabled)"),
    ("RuntimeError", "Dataset scripts are no longer supported, but found cmmlu.py"),
    ("datasets.exceptions.DatasetNotFoundError", "Dataset 'x/y' is a gated dataset on the Hub."),
    ("LookupError", "\n****\n  Resource punkt_tab not found.\n"),
]


@given(st.lists(st.sampled_from(ORDINARY), max_size=40), st.sampled_from([1, 2, 3, 77]), st.booleans())
def test_of_an_ordinary_log_nothing_is_said(lines: list[str], code: int, has_prompt: bool) -> None:
    log = "\n".join([PROMPT if has_prompt else "", *lines])
    failure = explain_failure(log, code)
    assert (failure.what, failure.memory) == (f"LLaMA-Factory ended with exit code {code}", "")
    unknown = explain_failure(log, code, [Raised((("ValueError", "something new"),))])
    assert unknown.what == "LLaMA-Factory failed with ValueError: something new"


@pytest.mark.parametrize(("code", "words"), [(-11, "segmentation fault"), (-9, "signal 9"), (-15, "signal 15")])
def test_a_prompt_does_not_say_why_a_signal_ended_it(code: int, words: str) -> None:
    without_its_heading = PROMPT.partition("chosen_inputs:\n")[2]
    for prompt in (PROMPT, without_its_heading):
        assert words in explain_failure(HEAD + prompt, code).what


def test_a_program_that_the_system_cannot_start() -> None:
    line = "/opt/env/bin/python: error while loading shared libraries: libpython3.11.so: cannot open shared object file"
    assert "a system library of the engine is missing" in explain_failure(line, 127).what
    assert "exit code 127" in explain_failure(f"the prompt says that {line}", 127).what


def test_a_traceback_whose_beginning_is_cut_off() -> None:
    tail = "\n".join(frames(*CASES["a full disk"].chain[0])[3:])
    assert explain_failure(tail, 1).what == "the disk is full"


def test_each_fix_is_one_that_can_be_typed() -> None:
    """What stands in backticks, or behind export, is a command with balanced quotes; a placeholder is in capitals."""
    for entry in _entries():
        fix = entry["fix"].replace("{again}", "`again`")
        assert fix.count("`") % 2 == 0, fix
        for command in re.findall(r"`([^`]+)`", fix):
            assert shlex.split(command), fix
        for name in re.findall(r"--set (\S+)", fix):
            assert re.fullmatch(r"\w+=\S+", name.strip(",;.)")), fix


@pytest.mark.engine
def test_each_key_of_a_fix_is_one_that_the_engine_has() -> None:
    """The values as well: a fix that is pasted passes the checks before a training."""
    schema = load_schema(find_engine())
    settings = [text for entry in _entries() for text in re.findall(r"--set (\w+=[^\s,;:)\"]+)", entry["fix"])]
    assert len(settings) >= 15
    named = {text: text.partition("=")[2] for text in settings if not text.endswith(("=NAME", "=all", "=main"))}
    assert schema.problems(parse_settings(list(named))) == []
    assert {text.partition("=")[0] for text in settings} <= schema.fields.keys()
