"""Measure a policy on tasks of lm-evaluation-harness.

usage: benchmarks.py REQUEST.json

REQUEST: {"args": LLaMA-Factory's keys of the policy, "tasks": [names], "folder": where more tasks are, or null,
"limit": how many documents of each task, or null for all, "chat": whether prompts are conversations written by the
template (examples as turns of their own), else plain text, "batch_size": of requests, or null}

The data of every task is read before the model is loaded, and one that fails does not end the others. No code of the
hub runs, and no code that the model writes. Lines on stdout:

{"phase": what is done now (, "done", "total")}
{"unknown": {name: [near names]}, "unread": {file: why}}     nothing is measured then
{"index", "what", "fix"} or {"index", "chain", "traceback"}     of a task that could not be measured
{"index", "figures", "shots", "versions", "counts", "without_answer"}     of one that was

A figure is one row of lm-eval's own table: {"name", "metric", "filter", "value", "more_is_better", "documents":
[{"task", "value", "ids", "digest": of what they hold, "values": of each: a number, a list of booleans, or null}]}
`counts`: prompts, and of these "cut" at their beginning and "retokenized" (harness.py).
"""

import contextlib
import difflib
import hashlib
import json
import math
import os
import random
import sys
import traceback
from pathlib import Path

from match_logits import tell
from rlguide_events import chain


class Refused(Exception):
    """A task that is not measured: what is wrong with it, and what to do."""


def main():
    """Find the tasks, load their data, load the model, measure them; exit code 0 however many could be measured."""
    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    tell(phase="looking for the tasks")
    no_code_of_the_hub()
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=request["folder"])
    unknown = {name: near(name, manager.all_tasks) for name in request["tasks"] if name not in manager.task_index}
    unread = not_read(request["folder"])
    if unknown or unread:
        tell(unknown=unknown, unread=unread)
    if unknown:
        return
    loaded = {}
    for index, name in enumerate(request["tasks"]):
        tell(phase=f"data of {name}")
        with told(index):
            loaded[index] = load(manager, name, request["limit"])
    if not loaded:
        return
    tell(phase="loading the model")
    from harness import Harness
    from loaded import Loaded

    model = Harness(Loaded(request["args"]), request["chat"], request["batch_size"])
    for index, (found, without_answer) in loaded.items():
        name = request["tasks"][index]
        model.begin(name)
        tell(phase=name)
        with told(index):
            tell(index=index, **measured(model, name, found, request), without_answer=without_answer)


def no_code_of_the_hub():
    """Metrics that lm-eval does not have are Python code on the hub, which `evaluate.load` would run unasked."""
    import evaluate

    def load(path, *_, **__):
        raise Refused(f"its metric {path} is code on the hub", "leave the task out, or name a metric that lm-eval has")

    evaluate.load = load


def near(name, names):
    """Up to three names like this one."""
    return difflib.get_close_matches(name, names, n=3, cutoff=0.6)


def not_read(folder):
    """The files of tasks in a folder that lm-eval passes over in silence, and why."""
    from lm_eval.tasks._yaml_loader import load_yaml

    found = {}
    for path in sorted(Path(folder).rglob("*.y*ml")) if folder else ():
        try:
            load_yaml(path, resolve_func=False)
        except Exception as error:
            found[str(path)] = " ".join(str(error).split())
        else:
            if path.suffix != ".yaml":
                found[str(path)] = "lm-eval reads only files whose names end in .yaml"
    return found


@contextlib.contextmanager
def told(index):
    """Tell why a task could not be measured, and go on."""
    try:
        yield
    except Refused as error:
        what, fix = error.args
        tell(index=index, what=what, fix=fix)
    except Exception as error:
        traceback.print_exc()
        tell(index=index, chain=chain(error), traceback=traceback.format_exc()[-4000:])


def load(manager, name, limit):
    """What lm-eval loads of a name, {"tasks", "groups", "group_map"}, and how many documents have no answer."""
    found = manager.load([name])
    without_answer = documents = 0
    for task in found["tasks"].values():
        check(task)
        for _, document in task.doc_iterator(limit=limit):
            documents += 1
            without_answer += not has_answer(task, document)
        if task.get_config("num_fewshot") is None:
            task.set_config("num_fewshot", 0)
    if without_answer == documents:
        what = f"none of its {documents} documents has an answer to compare with"
        raise Refused(what, "leave it out; test sets often keep their answers, a validation set has them")
    return found, without_answer


def check(task):
    """Raise what would only be raised after hours."""
    metrics = getattr(task, "_metric_fn_list", {})
    missing = [name for name, function in metrics.items() if function is None]
    if missing and not callable(task.get_config("process_results")):
        raise Refused(
            f"lm-eval has no metric {', '.join(missing)}, and code of the hub is not run",
            "leave the task out, or name a metric that lm-eval has",
        )
    if getattr(task, "UNSAFE_CODE", False):
        raise Refused("it runs code that the model writes", "leave it out; lm-eval itself runs it where you allow that")
    if getattr(task, "MULTIMODAL", False):
        raise Refused("it asks about images or sounds", "leave it out")
    if any(name.endswith(".instructions_util") for name in sys.modules):  # IFEval's, which splits words with NLTK
        import nltk

        nltk.data.find("tokenizers/punkt_tab")


def has_answer(task, document):
    """Whether a response to the document can be right; without an answer lm-eval counts every one as wrong."""
    if callable(task.get_config("process_results")) or getattr(task, "multiple_input", 0):
        return True
    target = task.doc_to_target(document)
    if task.OUTPUT_TYPE != "multiple_choice":
        return target not in (None, "", [])
    choices = task.doc_to_choice(document)
    targets = target if isinstance(target, list) else [target]
    return any(0 <= each < len(choices) if isinstance(each, int) else each in choices for each in targets)


def measured(model, name, found, request):
    """Every figure of a name with the values of its documents, the same examples drawn each time."""
    import numpy
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED
    from lm_eval.evaluator import evaluate
    from lm_eval.utils import set_torch_seed

    random.seed(DEFAULT_RANDOM_SEED)
    numpy.random.seed(DEFAULT_OTHER_SEED)
    set_torch_seed(DEFAULT_OTHER_SEED)
    for task in found["tasks"].values():
        task.set_fewshot_seed(seed=DEFAULT_OTHER_SEED)
    chat = request["chat"]
    results = evaluate(
        lm=model,
        task_dict=found,
        limit=request["limit"],
        bootstrap_iters=0,  # the intervals are made from the values of the documents, in pairs
        apply_chat_template=chat,
        fewshot_as_multiturn=chat,
    )
    items = [item for top in tops(name, found) for item in shown(top)]
    return {
        "figures": [figure for item in items for figure in figures(item, results)],
        "shots": results["n-shot"],
        "versions": results["versions"],
        "counts": model.counts,
    }


def tops(name, found):
    """What a name stands for: a group, a task, or the tasks of a tag."""
    return [found["groups"][name]] if name in found["groups"] else list(found["tasks"].values())


def shown(item):
    """The rows of a table: a group that has figures of its own is one, of any other group its members are."""
    if not hasattr(item, "has_aggregation") or item.has_aggregation:
        return [item]
    return [row for member in item for row in shown(member)]


def figures(item, results):
    """The rows of lm-eval's results for a task or a group."""
    name = item.task_name if hasattr(item, "task_name") else item.name
    leaves = [task.task_name for task in item.get_all_tasks()] if hasattr(item, "get_all_tasks") else [name]
    for key, value in results["results"][name].items():
        metric, comma, chosen = key.rpartition(",")
        if not comma or metric.endswith("_stderr"):
            continue
        yield {
            "name": name,
            "metric": metric,
            "filter": chosen,
            "value": number(value),
            "more_is_better": results["higher_is_better"].get(name, {}).get(metric),
            "documents": [of_task(leaf, results, metric, chosen) for leaf in leaves],
        }


def of_task(name, results, metric, chosen):
    """A metric of a task, and its values of the documents."""
    value = number(results["results"][name].get(f"{metric},{chosen}"))
    rows = [row for row in results["samples"][name] if row["filter"] == chosen and metric in row["metrics"]]
    digest = hashlib.sha256("".join(row["doc_hash"] for row in rows).encode()).hexdigest()[:16]
    ids = [row["doc_id"] for row in rows]
    values = [plain(row[metric]) for row in rows]
    return {"task": name, "value": value, "ids": ids, "digest": digest, "values": values}


def plain(value):
    """A number, a list of booleans, or None for others: a pair of sums, say, which is no value of its document."""
    if isinstance(value, list) and value and all(is_boolean(each) for each in value):
        return [bool(each) for each in value]
    return number(value)


def is_boolean(value):
    """Python's or numpy's."""
    return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")


def number(value):
    """As JSON can hold it; None for NaN, infinity, and what is no number."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # only this program's JSON may reach the real stdout
        main()
    sys.stderr.flush()
    os._exit(0)  # nothing is left to do; the interpreter's own end can abort in background threads of a model
