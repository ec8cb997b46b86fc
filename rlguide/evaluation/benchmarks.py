"""Benchmarks: a run and its parent on tasks of lm-evaluation-harness, compared document by document."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlguide.console import console, progress, say, warn
from rlguide.engine.capabilities import release
from rlguide.engine.failures import Failure, known_cause
from rlguide.engine.find import Engine
from rlguide.engine.job import Command, stream_worker
from rlguide.engine.worker import worker_command
from rlguide.errors import EngineError, UsageError
from rlguide.evaluation.by_document import compared
from rlguide.evaluation.lines import Line
from rlguide.evaluation.tasks import Tasks, digest_of_folder
from rlguide.inference.loaded import content_of
from rlguide.policy.policy import Policy
from rlguide.remembered import some_remembered
from rlguide.runs.record import Run
from rlguide.workspace import Workspace

_OLDEST = "0.4.13"  # of the versions of lm-eval that the worker was tested with: the extra `eval`
# Nothing that comes with a task's data runs, whatever the environment says.
_NO_CODE = {"HF_DATASETS_TRUST_REMOTE_CODE": "0", "HF_ALLOW_CODE_EVAL": "0"}
_GOALS = {True: "more", False: "less"}
_OWN = "leave it out, or correct it if it is your own: eval/suite.json in the run's folder has the traceback"
_COUNTS = {
    "cut": "{n} of {prompts} prompts were longer than the model takes, and lost their beginning",
    "retokenized": "prompts that read back as other tokens than those of training: {n}",
}


@dataclass
class Benchmarks:
    """What was found.

    Attributes:
        failures: why a task was not measured, by its name.
        notes: what else there is to know, in sentences.
        how: the version of lm-eval and how prompts were written, in a sentence.
        detail: the figures of each task and of its subtasks, by name.
        documents: the values of each document, by the name of the figure.
        tracebacks: of the failures that had one.
    """

    lines: list[Line] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    how: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    tracebacks: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        failed = {
            name: {"what": why.what, "fix": why.fix, "traceback": self.tracebacks.get(name)}
            for name, why in self.failures.items()
        }
        return {"how": self.how, "tasks": self.detail, "not_measured": failed, "notes": self.notes}

    @property
    def verdict(self) -> str:
        """Where it got better, in a sentence; "" where nothing was measured."""
        said = []
        for is_better, words in ((True, "better in"), (False, "WORSE in")):
            if names := [line.name for line in self.lines if line.is_better is is_better]:
                said.append(f"{words} {', '.join(names)}")
        if not said and self.lines:
            said.append("no clear difference")
        return f"benchmarks: {', '.join(said)}" if said else ""


def measure(ws: Workspace, engine: Engine, run: Run, keys: Mapping[str, Any], tasks: Tasks) -> Benchmarks:
    """Measure the parent of a run and the run on each task that can be.

    Args:
        keys: LLaMA-Factory's keys that load either model, but for their parts.

    Raises:
        UsageError: a task does not exist.
        EngineError: the engine has no lm-eval, or failed as a whole.
    """
    _check_installed(engine)
    found = Benchmarks(how=_how(engine, run.policy, tasks))
    results: list[dict[str, Any]] = []
    for label, policy in (("parent", run.reference), ("tuned", run.policy)):
        names = [name for name in tasks.names if name not in found.failures]
        results.append(_Asking(ws, engine, tasks, found, label).results(policy, keys, names))
    before, after = results
    for name in tasks.names:
        if name in before and name in after:
            _add(found, name, before[name], after[name])
    return found


def _check_installed(engine: Engine) -> None:
    version = engine.versions.get("lm_eval")
    if release(version) < release(_OLDEST):
        lacks = f"has lm-evaluation-harness {version}, and {_OLDEST} or newer" if version else "has no lm-eval, which"
        raise EngineError(
            f"the engine {engine.python} {lacks} measures the tasks",
            shlex.join([str(engine.python), "-m", "pip", "install", f"lm_eval[hf,ifeval]=={_OLDEST}"]),
        )


def _how(engine: Engine, policy: Policy, tasks: Tasks) -> str:
    chat = (
        f"prompts as conversations in the template {policy.template or 'of the model'}, examples as turns of their own"
    )
    prompts = chat if tasks.as_chat else "prompts as plain text, without the chat template"
    limit = "" if tasks.limit is None else f"; only the first {tasks.limit} documents of each task"
    return f"lm-eval {engine.versions['lm_eval']}; {prompts}{limit}"


@dataclass
class _Asking:
    """One model on the tasks."""

    ws: Workspace
    engine: Engine
    tasks: Tasks
    found: Benchmarks
    label: str

    def results(self, policy: Policy, keys: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
        """What the worker tells of each task, by name; what was told before is not measured again."""
        args = {**keys, **policy.model_config()}
        settings = {"limit": self.tasks.limit, "chat": self.tasks.as_chat}
        versions = {name: self.engine.versions.get(name) for name in ("lm_eval", "datasets")}
        what = {**content_of(self.ws, self.engine, policy, args), **settings, **versions}
        folder = self.tasks.folder
        what["folder"] = None if folder is None else digest_of_folder(folder, self.ws.root)
        request = {
            "args": args,
            **settings,
            "folder": None if folder is None else str(folder.absolute()),
            "batch_size": self.tasks.batch_size,
        }

        def ask(missing: list[int]) -> Iterator[tuple[int, Any]]:
            yield from self._asked({**request, "tasks": [names[at] for at in missing]}, missing)

        kept = some_remembered("benchmarks", what, list(names), ask)
        silent = [name for at, name in enumerate(names) if at not in kept and name not in self.found.failures]
        if silent:
            raise EngineError(f"the engine told nothing of {', '.join(silent)}", "run `rlguide doctor`, then try again")
        return {names[at]: value for at, value in kept.items()}

    def _asked(self, request: Mapping[str, Any], places: list[int]) -> Iterator[tuple[int, Any]]:
        """(place, what was told) of each task that was measured, as it comes; the others become failures."""
        with tempfile.TemporaryDirectory() as folder, progress("requests") as bar:
            path = Path(folder) / "request.json"
            path.write_text(json.dumps(dict(request)), encoding="utf-8")
            line = bar.add_task(f"{self.label}: starting", total=None)
            command = Command(tuple(worker_command(self.engine, "benchmarks", str(path))), self.ws.root, _NO_CODE)
            with closing(stream_worker(self.engine, command)) as documents:
                for told in documents:
                    if not isinstance(told, dict):
                        continue
                    if "unknown" in told:
                        self._check_names(told)
                    elif "phase" in told:
                        text = f"{self.label}: {told['phase']}"
                        bar.update(line, description=text, completed=told.get("done", 0), total=told.get("total"))
                        if "done" not in told and not console(stderr=True).is_terminal:
                            say(text)
                    elif "figures" in told:
                        yield places[told.pop("index")], told
                    elif "index" in told:
                        self._keep_failure(request["tasks"][told["index"]], told)

    def _check_names(self, told: Mapping[str, Any]) -> None:
        """Raise UsageError if there is a name that no task has; say which files of the folder were not read."""
        unread = [f"{path} cannot be read: {why}" for path, why in told["unread"].items()]
        for name, near in told["unknown"].items():
            where = f", nor has {self.tasks.folder}" if self.tasks.folder else ""
            like = f"; near it are {', '.join(near)}" if near else ""
            every = shlex.join([str(self.engine.python), "-m", "lm_eval", "ls", "tasks"])
            what = f"lm-eval {self.engine.versions['lm_eval']} has no task {name!r}{where}{like}"
            raise UsageError("; ".join([what, *unread]), f"correct that file, or {every}" if unread else every)
        for text in unread:
            warn(text)

    def _keep_failure(self, name: str, told: Mapping[str, Any]) -> None:
        if "what" in told:
            why = Failure(told["what"], told["fix"])
        else:
            chain = tuple((str(link["type"]), str(link["message"])) for link in told["chain"])
            last = ": ".join(chain[0])[:300]
            why = known_cause(chain) or Failure(f"it failed with {last}", _OWN)
            self.found.tracebacks[name] = str(told.get("traceback"))
        self.found.failures[name] = why


def _add(found: Benchmarks, name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """The rows of a task, and what there is to know of them."""
    detail = []
    tuned = {_key(figure): figure for figure in after["figures"]}
    for old in before["figures"]:
        new = tuned.get(_key(old))
        row, _, chosen = title = _key(old)
        text = f"{row} {title[1]}" + ("" if chosen == "none" else f" ({chosen})")
        if new is None or old["value"] is None or new["value"] is None:
            found.notes.append(f"{text} has no value")
            continue
        goal = _GOALS.get(old["more_is_better"], "")
        difference, interval = compared(old, new)
        if not interval:
            found.notes.append(f"{text} has no interval: it is no mean over documents that are the same for both")
        digits = 3 if max(abs(old["value"]), abs(new["value"])) < 100 else 1
        found.lines.append(Line(text, old["value"], new["value"], difference, goal, interval, digits))
        parts = list(_by_task(old, new))
        detail.append({**found.lines[-1].as_dict(), "subtasks": [_without_values(part) for part in parts]})
        found.documents[text] = parts
    found.detail[name] = {"figures": detail, "shots": after["shots"], "versions": after["versions"]}
    found.notes += dict.fromkeys(_notes(name, before) + _notes(name, after))


def _key(figure: Mapping[str, Any]) -> tuple[str, str, str]:
    return figure["name"], figure["metric"], figure["filter"]


def _by_task(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """For JSON: the figure of each subtask, and the values of its documents."""
    tuned = {part["task"]: part for part in new["documents"]}
    for before in old["documents"]:
        after = tuned.get(before["task"], {"value": None, "values": None})
        figures = {"task": before["task"], "parent": before["value"], "tuned": after["value"]}
        yield {**figures, "ids": before["ids"], "parent_values": before["values"], "tuned_values": after["values"]}


def _without_values(part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: part[key] for key in ("task", "parent", "tuned")}


def _notes(name: str, told: Mapping[str, Any]) -> list[str]:
    counts = told["counts"]
    found = [f"{name}: {text.format(n=counts[key], **counts)}" for key, text in _COUNTS.items() if counts[key]]
    if told["without_answer"]:
        found.append(
            f"{name}: {told['without_answer']} documents have no answer; every response to them counts as wrong"
        )
    return found
