"""Did it get better? A run and its parent on the same prompts: pairs, instructions, divergence, length.

Of a reward model, which writes no responses, only the pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rlguide.console import say
from rlguide.conversation import Message
from rlguide.engine.find import Engine
from rlguide.engine.hardware import list_gpus
from rlguide.errors import UsageError
from rlguide.evaluation import benchmarks, divergence, over_checkpoints, reward_model
from rlguide.evaluation.answers import answered, keep_answers
from rlguide.evaluation.asked import SIZES, Asked, followed
from rlguide.evaluation.comparison.record import HELD_OUT, INSTRUCTIONS, Compared
from rlguide.evaluation.config import check_run, held_out_pairs
from rlguide.evaluation.instructions.prompts import LANGUAGES
from rlguide.evaluation.lines import KL_PER_RESPONSE, Line, lines_of_pairs
from rlguide.evaluation.pairs import Evaluation, score
from rlguide.evaluation.reward_model import RewardEvaluation
from rlguide.evaluation.tasks import Tasks
from rlguide.runs.choose import is_reward_model, model_keys
from rlguide.runs.plots import plot_checkpoints
from rlguide.runs.record import Run
from rlguide.statistics import mean, paired
from rlguide.workspace import Workspace, write_json

RESULT, DOCUMENTS = "suite.json", "benchmarks.json"
_READINGS: dict[Literal["strict", "loose"], str] = {"strict": "", "loose": " (loose)"}
PARTS = ("pairs", INSTRUCTIONS, "kl", "length")


@dataclass
class Suite:
    """What was found.

    Attributes:
        skipped: why a part could not be measured, by its name.
        tasks: what was measured with `--tasks`.
        responses: what both models responded.
    """

    run: str
    lines: list[Line] = field(default_factory=list)
    pairs: Evaluation | RewardEvaluation | None = None
    kl: divergence.Divergence | None = None
    skipped: dict[str, str] = field(default_factory=dict)
    checkpoints: list[over_checkpoints.Point] = field(default_factory=list)
    tasks: benchmarks.Benchmarks | None = None
    responses: list[Compared] = field(default_factory=list, repr=False)

    @property
    def table(self) -> list[Line]:
        """Every figure."""
        return [*self.lines, *(self.tasks.lines if self.tasks else ())]

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the figures of the pairs stand at the top, as they always have."""
        lines = [line.as_dict() for line in self.table]
        pairs = self.pairs.as_dict() if self.pairs else {"run": self.run}
        kl = self.kl.as_dict() if self.kl else None
        checkpoints = [point.as_dict() for point in self.checkpoints]
        found = {"table": lines, "kl": kl, "checkpoints": checkpoints, "skipped": self.skipped}
        tasks = {"benchmarks": self.tasks.as_dict()} if self.tasks else {}
        return {**pairs, **found, **tasks, "summary": self.verdict}

    @property
    def verdict(self) -> str:
        """Whether it got better, in a sentence."""
        said = []
        for line in self.lines:
            if INSTRUCTIONS in line.name and not line.name.endswith(_READINGS["loose"]):
                points = f"{abs(line.difference.value) * 100:.1f} points"
                words = {True: f"{points} more", False: f"{points} FEWER", None: "about as many"}
                said.append(f"follows {words[line.is_better]} {line.name}")
        if self.pairs is not None:
            said.append(self.pairs.verdict)
        if self.kl is not None:
            said.append(self.kl.verdict)
        if self.checkpoints:
            said.append(over_checkpoints.verdict(self.checkpoints))
        if self.tasks and self.tasks.verdict:
            said.append(self.tasks.verdict)
        return "; ".join(said)


def wanted(text: str | None) -> tuple[tuple[str, ...] | None, str | None]:
    """The parts that `--suite` names, separated by commas, and the size; None for what it does not name.

    Raises:
        UsageError: it names something else.
    """
    if text is None:
        return None, None
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    size = next((name for name in names if name in SIZES), None)
    parts = tuple(name for name in names if name not in SIZES)
    unknown = [name for name in parts if name not in PARTS]
    if unknown or not names:
        raise UsageError(
            f"--suite {text} has no part {unknown[0] if unknown else 'at all'}",
            f"choose some of {', '.join(PARTS)}, separated by commas; or {' or '.join(SIZES)}",
        )
    return parts or None, size


@dataclass(frozen=True)
class Wanted:
    """What is to be measured, and on what.

    Attributes:
        parts, size: as `wanted` gives them; None: all parts that the method has.
        datasets: pairs; those that the run held out if there are none.
        checkpoints: whether of every checkpoint, too.
        language: "en" or "zh": only prompts with instructions in it.
        prompts: a file of prompts with instructions, instead of the bundled ones.
        max_new_tokens: where a response is cut, instead of where the size says.
        tasks: benchmarks, beside the parts.
        step: which step of the run that is, in words, to be said.
    """

    parts: tuple[str, ...] | None
    size: str | None
    datasets: list[str]
    checkpoints: bool = False
    language: str | None = None
    prompts: Path | None = None
    max_new_tokens: int | None = None
    tasks: Tasks | None = None
    step: str = ""

    @property
    def asks_more(self) -> str:
        """The option that asks for responses beside the parts; "" if none does."""
        return "--tasks" if self.tasks else "--over-checkpoints" if self.checkpoints else ""


def evaluate_suite(ws: Workspace, engine: Engine, run: Run, what: Wanted, settings: Mapping[str, Any]) -> Suite:
    """Measure the parts of a suite; writes `<run>/eval/suite.json`, beside it documents of benchmarks and responses.

    Raises:
        UsageError, CheckpointError, DataError: nothing to evaluate on, or a part of the stack is missing; a reward
            model does not have what is wanted.
        EngineError: the engine failed.
    """
    has_policy = not is_reward_model(run)
    every = PARTS if has_policy else reward_model.PARTS
    parts, size = every if what.parts is None else what.parts, what.size
    if not has_policy:
        reward_model.check_wanted(run, parts, what.datasets, what.asks_more)
    found = Suite(run.name)
    check_run(ws, run, settings)
    keys, _ = model_keys(ws, run.config)
    if "trust_remote_code" in settings:  # no record decides that
        keys["trust_remote_code"] = settings["trust_remote_code"]
    said = f"step       {what.step}" if what.step else ""
    if what.tasks is not None:  # first, because a name may be wrong
        if said:
            say(said)
        found.tasks = benchmarks.measure(ws, engine, run, keys, what.tasks)
    has_pairs = what.checkpoints or bool({*parts} - {INSTRUCTIONS})
    held_out = held_out_pairs(ws, engine, run, what.datasets, settings) if has_pairs else None
    if said and what.tasks is None:  # after all checks, so that an error has two lines
        say(said)
    if size is None and (what.checkpoints or {*parts} - {"pairs"}):
        size = "usual" if list_gpus() else "quick"
        if size == "quick":
            say("no GPU: fewer prompts and shorter responses (all of them: --suite full)")
    measure: dict[str, Callable[[Asked, Suite], None]] = {
        "pairs": _pairs if has_policy else _rewards,
        "instructions": _instructions,
        "kl": _divergence,
        "length": _length,
    }
    how_much = SIZES[size or "usual"]
    if what.max_new_tokens:
        how_much = replace(how_much, tokens=what.max_new_tokens)
    languages = (what.language,) if what.language else tuple(LANGUAGES)
    asked = Asked(ws, engine, run, keys, held_out, how_much, languages, what.prompts)
    if what.prompts is not None and INSTRUCTIONS in parts:
        say(f"{len(asked.prompts)} prompts of {what.prompts}")  # before anything else is measured
    for part in parts:
        measure[part](asked, found)
    if what.checkpoints:
        found.checkpoints = over_checkpoints.measure(asked)
        plot_checkpoints([point.as_dict() for point in found.checkpoints], run.path / "eval")
    if found.tasks and found.tasks.documents:
        write_json(run.path / "eval" / DOCUMENTS, found.tasks.documents)
    if found.responses:
        keep_answers(run.path, found.responses)
    write_json(run.path / "eval" / RESULT, found.as_dict())
    return found


def _pairs(asked: Asked, found: Suite) -> None:
    """Rewards on held-out pairs: those of the parent, which is the reference, are known."""
    assert asked.held_out is not None
    result = found.pairs = score(asked.ws, asked.engine, asked.run, asked.held_out)
    found.lines += lines_of_pairs(result.estimates, result.loss_of_reference)


def _rewards(asked: Asked, found: Suite) -> None:
    """A reward model on held-out pairs; it has no parent to stand beside."""
    assert asked.held_out is not None
    found.pairs = reward_model.score(asked.ws, asked.engine, asked.run, asked.held_out)


def _instructions(asked: Asked, found: Suite) -> None:
    """Shares of prompts all of whose instructions are followed."""
    prompts = asked.prompts  # at once, so that a model loads once
    conversations: list[list[Message]] = [[{"role": "user", "content": prompt.prompt}] for prompt in prompts]
    pair = asked.both(conversations)
    found.responses += answered(INSTRUCTIONS, conversations, pair)
    source = f" of {asked.own_prompts.name}" if asked.own_prompts else ""
    for reading, suffix in _READINGS.items():
        before, after = (followed(prompts, [item.text for item in own], reading) for own in pair)
        for code in dict.fromkeys(prompt.language for prompt in prompts):
            chosen = [at for at, prompt in enumerate(prompts) if prompt.language == code]
            old, new = ([values[at] for at in chosen] for values in (before, after))
            found.lines.append(_line(f"{LANGUAGES[code]} {INSTRUCTIONS}{source}{suffix}", old, new, "more"))


def _length(asked: Asked, found: Suite) -> None:
    """Characters of the greedy responses to held-out prompts."""
    conversations = asked.conversations
    if not conversations:
        found.skipped["length"] = "the held-out prompts cannot be read"
        return
    pair = asked.both(conversations)
    found.responses += answered(HELD_OUT, conversations, pair)
    before, after = ([float(len(item.text)) for item in own] for own in pair)
    line = _line("length of responses", before, after, "")
    found.lines.append(replace(line, digits=1, unit="characters"))


def _line(name: str, before: list[float], after: list[float], goal: str) -> Line:
    return Line(name, mean(before).value, mean(after).value, paired(before, after), goal, "bootstrap over prompts")


def _divergence(asked: Asked, found: Suite) -> None:
    """KL of the tuned model from its parent on its own sampled responses."""
    conversations = asked.conversations
    if not conversations:
        found.skipped["kl"] = "the held-out prompts cannot be read"
        return
    kl = asked.divergence(asked.run.policy, conversations)
    found.kl = kl
    found.lines += [
        Line(KL_PER_RESPONSE, 0.0, kl.response.value, kl.response, "", "normal", unit="nats"),
        Line("KL per token", 0.0, kl.token.value, kl.token, "", "normal", unit="nats", digits=4),
    ]
