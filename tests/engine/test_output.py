"""Reading LLaMA-Factory's output. The lines are its real ones (0.9.5, transformers 4.57), shortened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.engine.failures import explain_failure
from rlguide.engine.output import Logged, OutputParser, Progress, parse_metrics

LOSS = "{'loss': 0.6931, 'grad_norm': 1.16, 'learning_rate': 0.0, 'rewards/chosen': 0.0, 'epoch': 0.03}"
EVAL = "{'eval_loss': 0.69, 'eval_runtime': 2.2, 'eval_rewards/accuracies': 0.4, 'epoch': 0.17}"


def events(*lines: str) -> list[Progress | Logged]:
    parser = OutputParser()
    return [event for line in lines for event in parser.feed(line)]


def test_training_bar_is_told_from_others() -> None:
    found = events(
        "Running tokenizer on dataset: 100%|██████████| 6/6 [00:00<00:00, 50 examples/s]",
        "[INFO|trainer.py:2525] 2026-11-22 09:00:00,000 >>   Total optimization steps = 6",
        "  0%|          | 0/6 [00:00<?, ?it/s]",
        " 17%|█▋        | 1/6 [00:02<00:10,  2.1s/it]",
        "***** Running Evaluation *****",
        " 50%|█████     | 3/6 [00:00<00:00, 30.5it/s]",
        EVAL,
        " 33%|███▎      | 2/6 [00:09<00:10,  2.1s/it]",
    )
    assert found[0] == Progress("Running tokenizer on dataset", 6, 6)
    bars = [(event.phase, event.done) for event in found[1:] if isinstance(event, Progress)]
    assert bars == [("train", 0), ("train", 1), ("eval", 3), ("train", 2)]


def test_metrics_behind_a_bar() -> None:
    found = events("Total optimization steps = 1,200", f" 12%|█▏        | 144/1200 [00:10<01:20,  1.8s/it]{LOSS}")
    assert found[0] == Progress("train", 144, 1200)
    assert isinstance(found[1], Logged)
    assert found[1].kind == "train"
    assert found[1].values["loss"] == 0.6931


@pytest.mark.parametrize(
    ("line", "kind"), [(LOSS, "train"), (EVAL, "eval"), ("{'train_runtime': 9.1, 'train_loss': 0.6}", "summary")]
)
def test_kinds(line: str, kind: str) -> None:
    values = parse_metrics(line)
    assert values is not None
    assert Logged(values).kind == kind


def test_numbers_of_transformers_5_and_nan() -> None:
    """Newer versions print numbers as text; a broken run prints nan."""
    values = parse_metrics("{'loss': 'nan', 'grad_norm': nan, 'learning_rate': '5e-06'}")
    assert values is not None
    assert values["loss"] != values["loss"]
    assert values["grad_norm"] != values["grad_norm"]
    assert values["learning_rate"] == 5e-6


@pytest.mark.parametrize(
    "line", ["{'input_ids': [1, 2]}", "{'a': 1}", "{'loss': ", "loss: 3", "{'loss': __import__('os')}"]
)
def test_other_dictionaries_are_not_metrics(line: str) -> None:
    assert not parse_metrics(line)


@given(st.text())
def test_any_text_is_survived(text: str) -> None:
    OutputParser().feed(text)
    OutputParser().feed("{'loss': " + text + "}")
    explain_failure(text, 1)


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
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.5 GiB", 1, "GPU ran out of memory"),
        ("OSError: [Errno 28] No space left on device", 1, "disk is full"),
        ("some log", -9, "main memory"),
        ("no hint at all", 3, "exit code 3"),
    ],
)
def test_known_causes(log: str, code: int, words: str) -> None:
    assert words in explain_failure(log, code).what
