"""The whole journey on bundled data: every step calls the code of the command that it shows."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlguide.catalog.yaml_file import read_yaml
from rlguide.console import console, say, show, show_table
from rlguide.demo.score import DATA, Comparison, compare, read_held_out, samples
from rlguide.demo.tasks import Pair, base_corpus
from rlguide.engine.events import Begun, Logged, Progress
from rlguide.engine.find import Engine, find_engine
from rlguide.engine.hardware import list_gpus
from rlguide.engine.job import Command, Event, JobFailed, Line, run_job
from rlguide.engine.worker import worker_command
from rlguide.errors import EngineError, RlguideError, UsageError
from rlguide.workspace import Workspace, atomic_write

if TYPE_CHECKING:
    from rlguide.evaluation.pairs import Evaluation
    from rlguide.policy.policy import Policy
    from rlguide.recipes.options import TrainingOptions
    from rlguide.runs.record import Run


_SETTINGS = read_yaml(Path(__file__).with_name("settings.yaml"))
SFT_SETTINGS: dict[str, Any] = _SETTINGS["sft"]
DPO_SETTINGS: dict[str, Any] = _SETTINGS["dpo"]
BASE, SFT = "models/base", "saves/demo/lora/sft"
TEMPLATE = "qwen3_nothink"  # what `make_model` writes as its chat format
DATASET, EXAMPLES = "instructions", "examples"
MODEL_OPTIONS = ("--layers", "4", "--hidden", "128", "--vocab", "1200", "--batch", "32", "--train-steps", "900")


@dataclass(frozen=True)
class DemoResult:
    """The results of the demo; shares are between 0 and 1, seconds are wall-clock."""

    folder: Path
    seed: int
    lines: list[Comparison]
    evaluation: Evaluation
    first_loss: float | None
    seconds: dict[str, float]
    responses: list[tuple[Pair, str, str]] = field(repr=False)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "folder": str(self.folder),
            "seed": self.seed,
            "reward_accuracy": self.evaluation.accuracy.as_dict(),
            "first_loss": self.first_loss,
            "instructions": [line.as_dict() for line in self.lines],
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }


def choose_folder(chosen: Path | None) -> Path:
    """The folder for a demo: `chosen`, which must be absent or empty, else the first free ./rlguide-demo[-N].

    Raises:
        UsageError: `chosen` is not empty; nothing is ever deleted or overwritten.
    """
    if chosen is not None:
        if not _is_free(chosen):
            raise UsageError(f"{chosen} is not empty", "name a new folder with --dir, or remove that one")
        return chosen
    others = (f"rlguide-demo-{number}" for number in itertools.count(2))
    return next(folder for folder in map(Path, itertools.chain(["rlguide-demo"], others)) if _is_free(folder))


def _is_free(folder: Path) -> bool:
    return not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))


def run_demo(folder: Path, engine_name: str | None = None, seed: int = 0) -> DemoResult:
    """Base model, SFT, DPO, evaluation and responses, in `folder`.

    Raises:
        EngineError, RlguideError: a step failed; the message has the cause.
        KeyboardInterrupt: after whatever was running has been stopped.
    """
    engine = find_engine(engine_name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RlguideError(f"cannot make {folder}: {error.strerror or error}", "name another with --dir") from error
    journey = _Journey(Workspace(folder.resolve()), folder, engine, seed)
    with _demo_environment():
        return journey.run()


class _Journey:
    """The steps, in order; `seconds` takes the time of each."""

    def __init__(self, ws: Workspace, shown: Path, engine: Engine, seed: int) -> None:
        self.ws, self.shown, self.engine, self.seed = ws, shown, engine, seed
        self.seconds: dict[str, float] = {}

    def run(self) -> DemoResult:
        """All steps."""
        started = time.monotonic()
        held_out = read_held_out()
        say(f"engine: LLaMA-Factory {self.engine.version} ({self.engine.python})")
        say(f"folder: {self.shown}; everything happens in there, on bundled data, without network")
        with self._step("data", "the bundled data"):
            self._write_inputs()
        with self._step("base", "a base model of about a million weights, trained from scratch"):
            self._make_base()
        with self._step("sft", "SFT: teach it to respond and to stop (half of its examples ignore the instruction)"):
            self._sft()
        with self._step("dpo", "DPO: prefer the response that follows the instruction; the SFT model is the reference"):
            run = self._dpo()
        with self._step("eval", "evaluate on held-out pairs, about topics it never saw together"):
            evaluation = self._evaluate(run)
        with self._step("responses", "compare the responses of the two models"):
            sft = self._responses(run.reference, held_out, "SFT")
            dpo = self._responses(run.policy, held_out, "DPO")
        self.seconds["total"] = time.monotonic() - started
        tasks = [pair.task for pair in held_out]
        first = (run.record.summary or {}).get("first") or {}
        return DemoResult(
            folder=self.shown,
            seed=self.seed,
            lines=compare(tasks, sft, dpo),
            evaluation=evaluation,
            first_loss=first.get("loss"),
            seconds=self.seconds,
            responses=list(zip(held_out, sft, dpo, strict=True)),
        )

    @contextmanager
    def _step(self, name: str, title: str) -> Iterator[None]:
        started = time.monotonic()
        say(f"\n[{len(self.seconds) + 1}/6] {title}")
        yield
        self.seconds[name] = time.monotonic() - started
        if name != "data":
            say(f"      {self.seconds[name]:.0f} s")

    def _command(self, text: str) -> None:
        say(f"$ {text}")

    def _write_inputs(self) -> None:
        """Copy the bundled files, and register the SFT examples and the pairs."""
        from rlguide.data.ingest.options import IngestOptions
        from rlguide.data.ingest.pipeline import describe
        from rlguide.data.ingest.register import register_path
        from rlguide.data.names import heldout_name

        inputs = self.ws.root / "input"
        for name in ("sft.jsonl", "pairs.jsonl", "heldout.jsonl"):
            with atomic_write(inputs / name, "wb") as file:
                file.write((DATA / name).read_bytes())
        with atomic_write(inputs / "base.jsonl") as file:
            for row in base_corpus():
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        self._command(f"cd {self.shown}")
        named = {"sft.jsonl": EXAMPLES, "pairs.jsonl": DATASET, "heldout.jsonl": heldout_name(DATASET)}
        for source, name in named.items():
            self._command(f"rlguide register input/{source} --name {name} --test-size 0")
            done = register_path(self.ws, inputs / source, IngestOptions(name, test_size=0.0))
            for line in describe(done):
                say(line)

    def _make_base(self) -> None:
        options = ("--out", BASE, "--corpus", "input/base.jsonl", "--seed", str(self.seed), *MODEL_OPTIONS)
        command = worker_command(self.engine, "make_model", *options)
        self._command(shlex.join(command))
        self._run("base model", Command(tuple(command), self.ws.root), self.ws.root / "models/base.log")

    def _sft(self) -> Run:
        from rlguide.recipes.options import TrainingOptions

        settings = {**SFT_SETTINGS, "seed": self.seed}
        words = f"-o {SFT} --template {TEMPLATE} {_typed(settings)}"
        self._command(f"rlguide train --method sft --base {BASE} --dataset {EXAMPLES} {words}")
        options = TrainingOptions(
            method="sft", base=BASE, datasets=(EXAMPLES,), template=TEMPLATE, output_dir=SFT, settings=settings
        )
        return self._train(options)

    def _run(self, title: str, command: Command, log: Path) -> None:
        """Run a job of the engine, showing its progress. Raises EngineError with the cause."""
        from rlguide.runs.pace import Pace
        from rlguide.runs.view.live import TrainingView
        from rlguide.runs.view.state import RunState

        shown = 0.0
        is_terminal = console(stderr=True).is_terminal
        with TrainingView(RunState(title, {}, Pace({}, 0))) as view:

            def show_event(event: Event) -> None:
                nonlocal shown
                told = _training_progress(event)
                if told is None:
                    view.handle(event)
                    return
                done, total, values = told
                if not view.state.step:
                    view.handle(Begun(0, total, 1))
                view.handle(Progress("train", done, total))
                if is_terminal or time.monotonic() - shown >= 2:  # in a pipe, not every line
                    shown = time.monotonic()
                    view.handle(Logged(done, values))

            try:
                run_job(self.engine, command, log, show_event)
            except JobFailed as error:
                raise EngineError(f"{title}: {error.what}", f"{error.cause.fix}; log: {log}") from error

    def _dpo(self) -> Run:
        from rlguide.recipes.options import TrainingOptions

        settings = {**DPO_SETTINGS, "seed": self.seed}
        words = f"--template {TEMPLATE} {_typed(settings)}"
        self._command(f"rlguide train --sft-ckpt {SFT} --dataset {DATASET} {words}")
        options = TrainingOptions(str(self.ws.root / SFT), datasets=(DATASET,), template=TEMPLATE, settings=settings)
        return self._train(options)

    def _train(self, options: TrainingOptions) -> Run:
        """Train as `rlguide train` does with these options."""
        from rlguide.recipes.prepare import prepare
        from rlguide.recipes.render import write_config
        from rlguide.runs.report import report, report_lines
        from rlguide.runs.training.train import train

        prepared = prepare(self.ws, self.engine, options)
        say(f"{'reference' if prepared.method.has_reference else 'start':9}  {prepared.reference.describe()}")
        say(f"result     {prepared.policy.describe()}")
        say(f"plan       {prepared.schedule.describe()}")
        name = f"{prepared.method.name}_config.yaml"
        write_config(self.ws.configs / name, prepared.text_in(f"configs/{name}"))
        run = train(self.ws, self.engine, prepared)
        for line in report_lines(report(run)):
            say(line)
        return run

    def _evaluate(self, run: Run) -> Evaluation:
        from rlguide.evaluation.pairs import evaluate

        self._command("rlguide eval")
        result = evaluate(self.ws, self.engine, run, [], {})
        say(f"reward accuracy {result.accuracy.value:.3f} ({result.accuracy.low:.3f} to {result.accuracy.high:.3f})")
        say(result.verdict)
        return result

    def _responses(self, policy: Policy, held_out: list[Pair], name: str) -> list[str]:
        """Greedy responses of a policy to the held-out prompts; also left in `responses/<name>.jsonl`."""
        from rlguide.inference.loaded import LoadedPolicy

        conversations = [[{"role": "user", "content": pair.task.prompt}] for pair in held_out]
        texts = [""] * len(held_out)
        say(f"{name}: {policy.describe()} responds to {len(held_out)} prompts (greedy decoding)")
        with LoadedPolicy(self.ws, self.engine, policy, policy.model_config()) as model:
            for done, (index, response) in enumerate(model.responses(conversations, 64), start=1):
                texts[index] = response.text
                if done % 64 == 0 or done == len(texts):
                    say(f"{name}: {done} of {len(texts)} responses")
        with atomic_write(self.ws.root / "responses" / f"{name.lower()}.jsonl") as file:
            for pair, text in zip(held_out, texts, strict=True):
                file.write(json.dumps({"prompt": pair.task.prompt, "response": text}, ensure_ascii=False) + "\n")
        return texts


def _training_progress(event: Event) -> tuple[int, int, dict[str, float]] | None:
    """(steps done, total steps, metrics) of `make_model`; None for an event that does not say them."""
    if isinstance(event, Line) and event.text.startswith('{"event": "step"'):
        step = json.loads(event.text)
        return step["step"], step["steps"], {"loss": step["loss"]}
    return None


def _typed(settings: dict[str, Any]) -> str:
    """Settings as they are typed."""
    from rlguide.engine.config_file import format_value

    return " ".join(f"--set {key}={format_value(value)}" for key, value in settings.items())


@contextmanager
def _demo_environment() -> Iterator[None]:
    """For the engine's processes: no network, one GPU where there are several."""
    variables = {"HF_HUB_OFFLINE": "1"}
    gpus = list_gpus()
    if len(gpus) > 1:
        variables["CUDA_VISIBLE_DEVICES"] = str(gpus[0].index)
    added = {key: value for key, value in variables.items() if key not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for key in added:
            os.environ.pop(key, None)


def show_result(result: DemoResult) -> None:
    """The table SFT against DPO, a few responses side by side, and what to do next (stdout)."""
    accuracy = result.evaluation.accuracy
    rows = [
        (
            "reward accuracy",
            "50% (it is the reference)",
            f"{accuracy.value:.0%} ({accuracy.low:.0%} to {accuracy.high:.0%})",
            f"{100 * (accuracy.value - 0.5):+.0f} points",
        ),
        *[line.cells() for line in result.lines],
    ]
    show("")
    show_table(("held-out prompts", "SFT", "SFT + DPO", "change"), rows)
    pairs, before, after = (list(column) for column in zip(*result.responses, strict=True))
    for index in samples([pair.task for pair in pairs], before, after):
        show(f"\n> {pairs[index].task.prompt}")
        show("  SFT  " + before[index].replace("\n", "\n       "))
        show("  DPO  " + after[index].replace("\n", "\n       "))
    show("")
    times = ", ".join(f"{name} {value:.0f}" for name, value in result.seconds.items())
    show(f"seconds: {times}")
    show(
        f"all responses: {result.folder}/responses/    run: {result.folder}/saves/demo/lora/dpo    log: its engine.log"
    )
    show(f"next: rlguide chat -w {shlex.quote(str(result.folder))}")
