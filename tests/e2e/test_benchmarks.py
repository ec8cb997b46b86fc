"""Benchmarks through the real lm-evaluation-harness, on tasks of a local folder."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rlguide.engine.worker import engine_environment
from tests.e2e.conftest import Bench

pytestmark = pytest.mark.engine

DPO = "saves/tiny/lora/dpo"
COMMON = """\
dataset_path: json
dataset_kwargs: {{data_files: {{test: '{data}', dev: '{data}'}}}}
test_split: test
fewshot_split: dev
fewshot_config: {{sampler: first_n}}
doc_to_text: "{{{{question}}}}"
"""
CHOICE = """\
output_type: multiple_choice
doc_to_choice: ["Of course! It is", "1 i guess", "你好", "No."]
doc_to_target: "{{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: mcc, aggregation: matthews_corrcoef, higher_is_better: true}
"""
TASKS = {
    "choice": f"{CHOICE}num_fewshot: 2\ndescription: Answer as shortly as you can.\n",
    "choice_too": f"{CHOICE}process_docs: !function own.half\n",
    "written": """\
output_type: generate_until
doc_to_target: "{{said}}"
generation_kwargs: {until: ["Question"], max_gen_toks: 48}
process_results: !function own.look
metric_list:
  - {metric: letters, aggregation: mean, higher_is_better: false}
  - {metric: followed, aggregation: !function own.share, higher_is_better: true}
""",
    "text": """\
output_type: loglikelihood_rolling
doc_to_target: "{{said}}"
metric_list: [{metric: word_perplexity}]
""",
    "unanswered": CHOICE.replace("{{answer}}", "{{ -1 }}"),
    "unsafe": f"{CHOICE}unsafe_code: true\n",
    "of_the_hub": CHOICE.replace("metric: mcc", "metric: somebody/metric"),
}
FUNCTIONS = """\
def half(docs):
    return docs.select(range(len(docs) // 2))

def look(doc, results):
    text = results[0]
    return {"letters": sum(map(ord, text)), "followed": ["e" in text, "s" in text][: 1 + doc["answer"] % 2]}

def share(items):
    return sum(map(sum, items)) / sum(map(len, items))
"""
ROWS = [
    {
        "question": f"Question {number}: 你好, what is {number} plus {number}?",
        "said": f"Of course! It is {2 * number}.",
        "answer": number % 4,
    }
    for number in range(20)
]

THEIRS = """\
import json, sys
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
request = json.loads(sys.argv[1])
manager = TaskManager(include_path=request["folder"])
found = simple_evaluate(model="hf", model_args={"pretrained": request["model"], "dtype": "float32"}, device="cpu",
    tasks=["both", "written", "text"], task_manager=manager, batch_size=3, apply_chat_template=True, bootstrap_iters=0)
json.dump(found["results"], open(request["out"], "w"))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of tasks, with a blank in its name and Chinese in its data."""
    found = tmp_path_factory.mktemp("own tasks")
    data = found / "rows.jsonl"
    data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS), encoding="utf-8")
    for name, text in TASKS.items():
        (found / f"{name}.yaml").write_text(f"task: {name}\n{COMMON.format(data=data)}{text}", encoding="utf-8")
    far = "dataset_path: nobody/nothing\ntest_split: test\ndoc_to_text: x\n"
    (found / "far.yaml").write_text(f"task: far\n{far}{CHOICE}")
    both = "group: both\ntask: [choice, choice_too]\naggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
    (found / "both.yaml").write_text(both)
    (found / "own.py").write_text(FUNCTIONS)
    return found


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A cache of the module's own."""
    return {"XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")), "HF_HOME": str(tmp_path_factory.mktemp("hf"))}


@pytest.fixture(scope="module")
def found(trained: Bench, folder: Path, cache: dict[str, str]) -> dict[str, Any]:
    names = "both,written,text,far,unanswered,unsafe,of_the_hub"
    done = trained.run("eval", DPO, "--tasks", names, "--task-folder", str(folder), "--json", env=cache)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def lines_of(found: dict[str, Any]) -> dict[str, Any]:
    """The rows of the table by their names."""
    return {line["name"]: line for line in found["table"]}


def test_each_figure_is_compared_over_its_documents(trained: Bench, found: dict[str, Any]) -> None:
    lines = lines_of(found)
    assert list(lines) == ["both acc", "written letters", "written followed", "text word_perplexity"]
    assert [lines[name]["goal"] for name in lines] == ["more", "less", "more", "less"]
    assert [lines[name]["difference"]["count"] for name in lines] == [30, 20, 20, 20]
    assert lines["text word_perplexity"]["difference"]["ci95_low"] is None
    for name in list(lines)[:3]:
        difference = lines[name]["difference"]
        assert difference["value"] == pytest.approx(lines[name]["tuned"] - lines[name]["parent"])
        assert difference["ci95_low"] <= difference["value"] <= difference["ci95_high"]
    assert lines["written letters"]["parent"] != lines["written letters"]["tuned"]  # else the next test says little
    subtasks = found["benchmarks"]["tasks"]["both"]["figures"][0]["subtasks"]
    assert [part["task"] for part in subtasks] == ["choice", "choice_too"]
    documents = json.loads((trained.root / DPO / "eval/benchmarks.json").read_text(encoding="utf-8"))["both acc"]
    for part, subtask in zip(documents, subtasks, strict=True):
        assert sum(part["tuned_values"]) / len(part["ids"]) == pytest.approx(subtask["tuned"])
    assert [len(part["parent_values"]) for part in documents] == [20, 10]


def test_one_that_cannot_be_measured_does_not_end_the_others(found: dict[str, Any]) -> None:
    failed = {name: why["what"] for name, why in found["benchmarks"]["not_measured"].items()}
    assert list(failed) == ["far", "unanswered", "unsafe", "of_the_hub"]
    assert "HF_HUB_OFFLINE forbids the network" in failed["far"]
    assert failed["unanswered"] == "none of its 20 documents has an answer to compare with"
    assert "code that the model writes" in failed["unsafe"]
    assert "no metric somebody/metric" in failed["of_the_hub"]


def test_lm_eval_itself_says_the_same_of_the_merged_model(
    trained: Bench, folder: Path, found: dict[str, Any], cache: dict[str, str], tmp_path: Path
) -> None:
    """Its own loading, and the Jinja template that the export wrote."""
    trained.run("export", DPO, "-o", str(tmp_path / "merged"), "--no-verify")
    path = tmp_path / "merged/generation_config.json"
    settings = json.loads(path.read_text())
    assert settings.pop(
        "max_new_tokens"
    )  # else it would go before what the task says, and rlguide lets no model do that
    path.write_text(json.dumps(settings))
    request = {"out": str(tmp_path / "out.json"), "folder": str(folder), "model": str(tmp_path / "merged")}
    done = subprocess.run(
        [str(trained.engine.python), "-c", THEIRS, json.dumps(request)],
        cwd=trained.root,
        env={**engine_environment(trained.engine), "HF_HUB_OFFLINE": "1", **cache},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    for name, line in lines_of(found).items():
        task, metric = name.split(" ")
        assert line["tuned"] == pytest.approx(theirs[task][f"{metric},none"], rel=1e-4), name
        assert math.isfinite(line["parent"])


def test_it_is_remembered_and_shown_in_two_lines_each(
    trained: Bench, folder: Path, found: dict[str, Any], cache: dict[str, str]
) -> None:
    """The same again, from a table: nothing is measured, and a failing task is looked for once."""
    names = ("--tasks", "both,written,text", "--task-folder", str(folder))
    done = trained.run("eval", DPO, *names, env={**cache, "RLGUIDE_ENGINE": str(trained.engine.python)})
    assert "loading the model" not in done.stderr
    assert "both acc" in done.stdout and "lm-eval 0.4.13; prompts as conversations" in done.stdout
    assert "note: text word_perplexity has no interval" in done.stdout
    done = trained.run("eval", DPO, "--tasks", "far", "--task-folder", str(folder), env=cache, code=1)
    assert [line.split(":")[0].strip() for line in done.stderr.splitlines()[-2:]] == ["error", "fix"]
    plain = trained.run("eval", DPO, *names, "--no-chat-template", "--limit", "3", "--json", env=cache)
    lines = lines_of(json.loads(plain.stdout))
    assert [line["difference"]["count"] for line in lines.values()] == [6, 3, 3, 3]


def test_names_and_files_that_are_wrong(trained: Bench, folder: Path, tmp_path: Path, cache: dict[str, str]) -> None:
    shown = trained.run("eval", DPO, "--tasks", "gsm9k", env=cache, code=2).stderr
    assert "no task 'gsm9k'; near it are gsm8k" in shown and "lm_eval ls tasks" in shown
    (tmp_path / "mine.yaml").write_text("task: [mine\n")
    shown = trained.run("eval", DPO, "--tasks", "mine", "--task-folder", str(tmp_path), env=cache, code=2).stderr
    assert "mine.yaml cannot be read" in shown and "fix: correct that file" in shown
