"""Did it get better? A run and its parent on the same prompts: pairs, instructions, divergence, length."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from rlguide.console import say
from rlguide.engine.chat import Message
from rlguide.engine.find import Engine
from rlguide.engine.hardware import list_gpus
from rlguide.errors import UsageError
from rlguide.evaluation import divergence
from rlguide.evaluation.asking import answers, conversation_of
from rlguide.evaluation.instructions.check import check
from rlguide.evaluation.instructions.prompts import load_prompts
from rlguide.evaluation.pairs import Evaluation, HeldOut, check_run, examples_of, held_out_pairs, score
from rlguide.policy.policy import Policy
from rlguide.runs.choose import model_keys
from rlguide.runs.record import Run
from rlguide.statistics import Estimate, mean, paired
from rlguide.workspace import Workspace, write_json

RESULT = "suite.json"
LANGUAGES = {"en": "English", "zh": "Chinese"}


@dataclass(frozen=True)
class Size:
    """How much is asked: prompts of each language, held-out prompts, and tokens of an answer."""

    instructions: int | None
    held_out: int
    tokens: int


SIZES = {"quick": Size(50, 24, 128), "usual": Size(None, 64, 256), "full": Size(None, 256, 512)}
PARTS = ("pairs", "instructions", "kl", "length")


@dataclass(frozen=True)
class Line:
    """A figure of both models and how far they are apart, with the 95 % interval of that.

    Attributes:
        goal: "more" or "less" of it is better; "" if neither is by itself.
        interval: how the interval was found.
        digits: after the point, for people.
    """

    name: str
    parent: float
    tuned: float
    difference: Estimate
    goal: str
    interval: str
    digits: int = 3
    unit: str = ""

    @property
    def is_better(self) -> bool | None:
        """Whether the tuned model is better by this figure; None where the interval includes 0, or there is no goal."""
        if not self.goal or self.difference.low <= 0 <= self.difference.high:
            return None
        return (self.difference.value > 0) == (self.goal == "more")


@dataclass
class Suite:
    """What was found. `skipped`: why a part could not be measured, by its name."""

    run: str
    lines: list[Line] = field(default_factory=list)
    pairs: Evaluation | None = None
    kl: divergence.Divergence | None = None
    skipped: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; the figures of the pairs stand at the top, as they always have."""
        lines = [{**asdict(line), "difference": line.difference.as_dict()} for line in self.lines]
        pairs = self.pairs.as_dict() if self.pairs else {"run": self.run}
        kl = self.kl.as_dict() if self.kl else None
        return {**pairs, "table": lines, "kl": kl, "skipped": self.skipped, "summary": self.verdict}

    @property
    def verdict(self) -> str:
        """Whether it got better, in a sentence."""
        by_name = {line.name: line for line in self.lines}
        said = []
        for language in LANGUAGES.values():
            if line := by_name.get(f"{language} instructions"):
                points = f"{abs(line.difference.value) * 100:.1f} points"
                words = {True: f"{points} more", False: f"{points} FEWER", None: "about as many"}
                said.append(f"follows {words[line.is_better]} {language} instructions")
        if self.pairs is not None:
            said.append(self.pairs.verdict)
        if self.kl is not None:
            said.append(self.kl.verdict)
        return "; ".join(said)


def wanted(text: str) -> tuple[tuple[str, ...], str | None]:
    """The parts that `--suite` names, separated by commas, and the size, None if it names none.

    Raises:
        UsageError: it names something else.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    size = next((name for name in names if name in SIZES), None)
    parts = tuple(name for name in names if name not in SIZES)
    unknown = [name for name in parts if name not in PARTS]
    if unknown or not names:
        raise UsageError(
            f"--suite {text} has no part {unknown[0] if unknown else 'at all'}",
            f"choose of {', '.join(PARTS)}, separated by commas; or {' or '.join(SIZES)}",
        )
    return parts or PARTS, size


def evaluate_suite(
    ws: Workspace, engine: Engine, run: Run, datasets: list[str], settings: Mapping[str, Any], suite: str
) -> Suite:
    """Measure the parts of a suite; writes `<run>/eval/suite.json`.

    Raises:
        UsageError, CheckpointError, DataError: nothing to evaluate on, or a part of the stack is missing.
        EngineError: the engine failed.
    """
    parts, size = wanted(suite)
    found = Suite(run.name)
    if size is None and parts != ("pairs",):
        size = "usual" if list_gpus() else "quick"
        if size == "quick":
            say("no GPU: fewer prompts and shorter answers (all of them: --suite full)")
    check_run(ws, run, settings)
    keys, _ = model_keys(ws, run.config)
    if "trust_remote_code" in settings:  # no record decides that
        keys["trust_remote_code"] = settings["trust_remote_code"]
    held_out = held_out_pairs(ws, engine, run, datasets, settings) if parts != ("instructions",) else None
    measure: dict[str, Callable[[_Asked], None]] = {
        "pairs": _pairs,
        "instructions": _instructions,
        "kl": _divergence,
        "length": _length,
    }
    asked = _Asked(ws, engine, run, keys, held_out, SIZES[size or "usual"], found)
    for part in parts:
        measure[part](asked)
    write_json(run.path / "eval" / RESULT, found.as_dict())
    return found


@dataclass(frozen=True)
class _Asked:
    """What the parts share."""

    ws: Workspace
    engine: Engine
    run: Run
    keys: dict[str, Any]
    held_out: HeldOut | None
    size: Size
    found: Suite

    def both(self, conversations: Sequence[Sequence[Message]]) -> tuple[list[str], list[str]]:
        """The answers of the parent and of the tuned model."""
        parent, tuned = (self._answers(policy, conversations) for policy in (self.run.reference, self.run.policy))
        return parent, tuned

    def _answers(self, policy: Policy, conversations: Sequence[Sequence[Message]]) -> list[str]:
        args = {**self.keys, **policy.model_config()}
        return answers(self.ws, self.engine, policy, args, conversations, self.size.tokens)

    def conversations(self) -> list[list[Message]]:
        """Held-out prompts, each once; none where they cannot be read."""
        pairs = examples_of(self.ws, self.held_out) if self.held_out else []
        by_text = {str(messages): messages for messages in map(conversation_of, pairs)}
        return list(by_text.values())[: self.size.held_out]


def _pairs(asked: _Asked) -> None:
    """Rewards on held-out pairs: those of the parent, which is the reference, are known."""
    assert asked.held_out is not None
    result = asked.found.pairs = score(asked.ws, asked.engine, asked.run, asked.held_out)
    rows = (
        ("reward accuracy", 0.5, result.accuracy, "more", "Clopper-Pearson"),
        ("margin", 0.0, result.margin, "more", "normal"),
        ("loss", result.loss_of_reference, result.loss, "less", "normal"),
        ("chosen reward", 0.0, result.chosen_reward, "", "normal"),
        ("rejected reward", 0.0, result.rejected_reward, "", "normal"),
    )
    asked.found.lines += [
        Line(name, parent, found.value, _less(found, parent), goal, interval, digits=4)
        for name, parent, found, goal, interval in rows
        if parent is not None
    ]


def _less(found: Estimate, by: float) -> Estimate:
    return Estimate(found.value - by, found.low - by, found.high - by, found.n)


def _instructions(asked: _Asked) -> None:
    """Shares of bundled prompts all of whose instructions are followed, strictly."""
    for code, language in LANGUAGES.items():
        chosen = [prompt for prompt in load_prompts() if prompt.language == code][: asked.size.instructions]
        pairs = asked.both([[{"role": "user", "content": prompt.prompt}] for prompt in chosen])
        for reading in ("strict", "loose"):
            before, after = (
                [float(all(getattr(check(prompt, text), reading))) for prompt, text in zip(chosen, texts, strict=True)]
                for texts in pairs
            )
            name = f"{language} instructions" + (" (loose)" if reading == "loose" else "")
            asked.found.lines.append(_line(name, before, after, "more"))


def _length(asked: _Asked) -> None:
    """Characters of the greedy answers to held-out prompts."""
    conversations = asked.conversations()
    if not conversations:
        asked.found.skipped["length"] = "the held-out prompts cannot be read"
        return
    before, after = ([float(len(text)) for text in texts] for texts in asked.both(conversations))
    line = _line("length of answers", before, after, "")
    asked.found.lines.append(replace(line, digits=1, unit="characters"))


def _line(name: str, before: list[float], after: list[float], goal: str) -> Line:
    return Line(name, mean(before).value, mean(after).value, paired(before, after), goal, "bootstrap over prompts")


def _divergence(asked: _Asked) -> None:
    """KL of the tuned model from its parent on its own sampled answers."""
    conversations = asked.conversations()
    if not conversations:
        asked.found.skipped["kl"] = "the held-out prompts cannot be read"
        return
    models = (asked.run.policy, asked.run.reference)
    kl = divergence.measure(asked.ws, asked.engine, models, asked.keys, conversations, asked.size.tokens)
    asked.found.kl = kl
    asked.found.lines += [
        Line("KL an answer", 0.0, kl.answer.value, kl.answer, "", "normal", unit="nats"),
        Line("KL a token", 0.0, kl.token.value, kl.token, "", "normal", unit="nats", digits=4),
    ]
