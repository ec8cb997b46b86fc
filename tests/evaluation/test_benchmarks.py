"""Benchmarks of two models: intervals over documents, what is told of a task, which files of a folder count."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlguide.engine.find import Engine
from rlguide.errors import EngineError, UsageError
from rlguide.evaluation import benchmarks
from rlguide.evaluation.by_document import INTERVAL, compared
from rlguide.evaluation.tasks import Tasks, digest_of_folder, wanted_tasks
from rlguide.policy.policy import Policy
from rlguide.statistics import paired
from rlguide.workspace import Workspace

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def figure(value: float | None, *parts: tuple[str, list[Any]], **more: Any) -> dict[str, Any]:
    """What the worker tells of a figure: each part is a task with the values of its documents."""
    documents = [
        {"task": task, "value": value, "ids": list(range(len(values))), "digest": task, "values": values}
        for task, values in parts
    ]
    name = {"name": "t", "metric": "acc", "filter": "none", "more_is_better": True}
    return {**name, "value": value, "documents": documents, **more}


def test_the_interval_of_a_mean_is_that_of_its_documents() -> None:
    before, after = [0.0, 1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 0.0, 1.0, 1.0]
    found, interval = compared(figure(0.4, ("t", before)), figure(0.8, ("t", after)))
    assert (found, interval) == (paired(before, after), INTERVAL)


def test_a_group_is_pooled_over_its_documents_or_its_tasks_as_lm_eval_does() -> None:
    old = (("a", [1.0, 0.0, 0.0, 0.0]), ("b", [1.0]))
    new = (("a", [1.0, 1.0, 0.0, 0.0]), ("b", [1.0]))
    pooled, interval = compared(figure(2 / 5, *old), figure(3 / 5, *new))
    assert interval and pooled.value == pytest.approx(1 / 5)
    alike, interval = compared(figure((1 / 4 + 1) / 2, *old), figure((2 / 4 + 1) / 2, *new))
    assert interval and alike.value == pytest.approx(1 / 8)
    assert alike.low < alike.value < alike.high


def test_instructions_of_a_document_count_each() -> None:
    """IFEval's share of instructions: 2 of 4 before, 3 of 4 after, in three documents."""
    old, new = [[True, False], [False], [True]], [[True, True], [False], [True]]
    found, interval = compared(figure(2 / 4, ("t", old)), figure(3 / 4, ("t", new)))
    assert interval and found.value == pytest.approx(1 / 4)
    assert found.n == 3
    lost, _ = compared(figure(1.0, ("t", [[True, True], [True]])), figure(0.0, ("t", [[False, False], [False]])))
    assert lost.low == lost.high == -1.0  # whichever documents are drawn


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (figure(7.4, ("t", [-1.0, -3.0])), figure(5.0, ("t", [-1.0, -2.0]))),  # a perplexity: exp of the mean
        (figure(0.5, ("t", [None, None])), figure(0.7, ("t", [None, None]))),  # F1: pairs of labels
        (figure(0.5, ("t", [1.0, 0.0])), figure(1.0, ("t", [1.0]))),  # other documents
        (figure(0.5, ("t", [1.0, 0.0])), figure(1.0, ("u", [1.0, 1.0]))),
        (figure(0.5, ("t", [[True, False]])), figure(1.0, ("t", [[True]]))),
    ],
)
def test_what_is_no_mean_over_the_same_documents_has_no_interval(old: dict[str, Any], new: dict[str, Any]) -> None:
    found, interval = compared(old, new)
    assert interval == ""
    assert found.value == pytest.approx(new["value"] - old["value"])
    assert (found.low, found.high) == (-math.inf, math.inf)


def result(index: int, *figures: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What the worker tells of a task that was measured."""
    counts = {"prompts": 4, "cut": 0, "retokenized": 0}
    told = {"index": index, "figures": list(figures), "shots": {}, "versions": {}, "counts": counts}
    return {**told, "without_answer": 0, **more}


class Worker:
    """Stands for the worker: tells what it is given, keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cache: Path, **of_task: Any) -> None:
        self.of_task, self.requests = of_task, list[dict[str, Any]]()
        monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
        monkeypatch.setattr(benchmarks, "stream_worker", self.stream)
        monkeypatch.setattr(benchmarks, "content_of", lambda ws, engine, policy, args: {"parts": policy.adapters})

    def stream(self, engine: Engine, command: Any) -> Iterator[Any]:
        """Like `stream_worker`."""
        request = json.loads(Path(command.arguments[-1]).read_text(encoding="utf-8"))
        self.requests.append(request)
        yield {"phase": "looking for the tasks"}
        is_tuned = "dpo" in str(request["args"])
        for index, name in enumerate(request["tasks"]):
            told = self.of_task[name][is_tuned]
            yield told if "unknown" in told else {**told, "index": index}

    def measure(self, *names: str, **more: Any) -> benchmarks.Benchmarks:
        """Of a run `dpo` on its parent `sft`."""
        versions = {"llamafactory": "0.9.5", "lm_eval": "0.4.13"}
        parent, tuned = (Policy("base", adapters, "qwen3_nothink") for adapters in (("sft",), ("sft", "dpo")))
        run: Any = SimpleNamespace(reference=parent, policy=tuned)
        ws = Workspace(Path())
        return benchmarks.measure(ws, Engine(Path("/e/bin/python"), versions), run, {}, Tasks(names, **more))


OLD = figure(0.25, ("t", [1.0, 0.0, 0.0, 0.0]))
NEW = figure(0.75, ("t", [1.0, 1.0, 1.0, 0.0]))
OFFLINE = [
    {"type": "ConnectionError", "message": "Couldn't reach 'google/IFEval' on the Hub (LocalEntryNotFoundError)"},
    {"type": "huggingface_hub.errors.LocalEntryNotFoundError", "message": "outgoing traffic has been disabled"},
]


def test_both_models_are_measured_and_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    worker = Worker(monkeypatch, tmp_path, gsm8k=(result(0, OLD), result(0, NEW)))
    found = worker.measure("gsm8k")
    [line] = found.lines
    assert (line.name, line.parent, line.tuned, line.goal) == ("t acc", 0.25, 0.75, "more")
    assert "template qwen3_nothink" in found.how and found.verdict == "benchmarks: no clear difference"
    assert len(worker.requests) == 2
    assert worker.measure("gsm8k").lines == found.lines
    assert len(worker.requests) == 2  # nothing was asked again
    assert "plain text" in worker.measure("gsm8k", as_chat=False).how
    worker.measure("gsm8k", limit=2)
    assert len(worker.requests) == 6  # but this is another measurement


def test_one_task_that_fails_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failed = {"chain": OFFLINE, "traceback": "Traceback"}
    good = (result(0, OLD), result(0, NEW))
    worker = Worker(monkeypatch, tmp_path, ifeval=(failed, failed), gsm8k=good)
    found = worker.measure("ifeval", "gsm8k")
    assert [line.tuned for line in found.lines] == [0.75]
    why = found.failures["ifeval"]
    assert "the hub could not be reached" in why.what and "HF_ENDPOINT" in why.fix
    assert worker.requests[1]["tasks"] == ["gsm8k"]  # the tuned model is not asked what its parent could not be
    assert found.as_dict()["not_measured"]["ifeval"]["traceback"] == "Traceback"
    worker.of_task["ifeval"] = good  # a failure is not remembered
    assert not worker.measure("ifeval", "gsm8k").failures
    assert [request["tasks"] for request in worker.requests[2:]] == [["ifeval"], ["ifeval"]]


def raised(kind: str, message: str) -> dict[str, Any]:
    """What the worker tells of a task that raised."""
    return {"chain": [{"type": kind, "message": message}], "traceback": "Traceback"}


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ({"what": "it runs code that the model writes", "fix": "leave it out"}, "runs code that the model writes"),
        (raised("RuntimeError", "Dataset scripts are no longer supported, but found cmmlu.py"), "a script on the hub"),
        (raised("LookupError", "\n Resource punkt_tab not found.\n"), "NLTK"),
        (raised("datasets.exceptions.DatasetNotFoundError", "Dataset 'x' doesn't exist"), "no such dataset"),
        (raised("KeyError", "'question'"), "failed with KeyError: 'question'"),
    ],
)
def test_why_a_task_was_not_measured(
    told: dict[str, Any], what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = Worker(monkeypatch, tmp_path, x=(told, told)).measure("x")
    assert what in found.failures["x"].what and found.failures["x"].fix
    assert not found.lines and not found.verdict


def test_a_name_that_no_task_has_is_refused_with_those_near_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = {"unknown": {"gsm9k": ["gsm8k"]}, "unread": {}}
    with pytest.raises(UsageError) as refused:
        Worker(monkeypatch, tmp_path, gsm9k=(told, told)).measure("gsm9k")
    assert "no task 'gsm9k'; near it are gsm8k" in refused.value.what
    assert refused.value.fix == "/e/bin/python -m lm_eval ls tasks"
    told = {"unknown": {"mine": []}, "unread": {"f/mine.yaml": "line 3 is damaged"}}
    with pytest.raises(UsageError, match=r"mine\.yaml cannot be read: line 3"):
        Worker(monkeypatch, tmp_path, mine=(told, told)).measure("mine")


def test_what_there_is_to_know_is_noted_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    counts = {"prompts": 4, "cut": 3, "retokenized": 1}
    perplexity = figure(8.0, ("t", [-1.0, -2.0]), metric="perplexity", more_is_better=False)
    told = result(0, perplexity, counts=counts, without_answer=2)
    found = Worker(monkeypatch, tmp_path, x=(told, told)).measure("x")
    assert found.notes == [
        "t perplexity has no interval: it is no mean over documents that are the same for both",
        "x: 3 of 4 prompts were longer than the model takes, and lost their beginning",
        "x: prompts that read back as other tokens than those of training: 1",
        "x: 2 documents have no answer; every response to them counts as wrong",
    ]
    assert found.lines[0].is_better is None
    assert json.loads(json.dumps(found.lines[0].as_dict(), allow_nan=False))["difference"]["ci95_low"] is None


@pytest.mark.parametrize("more", [{}, {"lm_eval": "0.4.9"}])
def test_an_engine_without_lm_eval_says_how_to_install_it(more: dict[str, str], tmp_path: Path) -> None:
    engine = Engine(tmp_path / "bin/python", {"llamafactory": "0.9.5", **more})
    run: Any = SimpleNamespace(reference=Policy("base"), policy=Policy("base", ("dpo",)))
    with pytest.raises(EngineError) as refused:
        benchmarks.measure(Workspace(tmp_path), engine, run, {}, Tasks(("gsm8k",)))
    [pin] = re.findall(r'^eval = \["(.*)"\]', PYPROJECT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert refused.value.fix == f"{engine.python} -m pip install '{pin.replace('-', '_')}'"


def test_options_belong_to_tasks(tmp_path: Path) -> None:
    assert wanted_tasks(None, None, None, True, {}) is None
    tasks = wanted_tasks("ifeval, gsm8k,ifeval", None, 5, False, {"per_device_eval_batch_size": 2})
    assert tasks == Tasks(("ifeval", "gsm8k"), None, 5, False, 2)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    wrong: list[tuple[Any, ...]] = [
        ("", None, None, True, {}),
        (None, None, 5, True, {}),
        (None, tmp_path, None, True, {}),
        (None, None, None, False, {}),
        ("x", tmp_path / "none", None, True, {}),
        ("x", tmp_path / "file", None, True, {}),
        ("x", tmp_path / "empty", None, True, {}),
        ("x", None, None, True, {"per_device_eval_batch_size": "many"}),
    ]
    for arguments in wrong:
        with pytest.raises(UsageError):
            wanted_tasks(*arguments)


def test_a_folder_counts_with_all_that_its_tasks_read(tmp_path: Path) -> None:
    root, folder, other = tmp_path / "工作 space", tmp_path / "my tasks", tmp_path / "other"
    for made in (root / "data", folder, other):
        made.mkdir(parents=True)
    (other / "base").write_text("dataset_path: json\nprocess_results: !function utils.f\n")
    (other / "utils.py").write_text("")
    (folder / "mine.yaml").write_text(
        "include: ../other/base\ntask: mine\ndoc_to_text: !function utils.f\ndataset_kwargs:\n"
        f"  data_files: {{test: data/rows.jsonl, dev: '{other}/more of it.jsonl', train: 'data/many/*.jsonl'}}\n"
    )
    (root / "data/many").mkdir()
    names = [
        folder / "mine.yaml",
        folder / "utils.py",
        other / "base",
        other / "utils.py",
        other / "more of it.jsonl",
        root / "data/rows.jsonl",
        root / "data/many/1.jsonl",
    ]
    before = digest_of_folder(folder, root)
    for path in names:
        path.write_text((path.read_text() if path.exists() else "") + "\n# changed")
        after = digest_of_folder(folder, root)
        assert after != before, path
        before = after
    (root / "data/unused.jsonl").touch()
    (folder / "broken.yaml").write_text("a: [")
    again = digest_of_folder(folder, root)
    assert again == digest_of_folder(folder, root) != before
