"""What a run and its parent are asked in an evaluation, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rlguide.engine.chat import Message
from rlguide.engine.find import Engine
from rlguide.evaluation import divergence
from rlguide.evaluation.asking import answers, conversation_of
from rlguide.evaluation.config import HeldOut
from rlguide.evaluation.instructions.check import check
from rlguide.evaluation.instructions.prompts import InstructionPrompt, load_prompts
from rlguide.evaluation.scoring import examples_of
from rlguide.policy.policy import Policy
from rlguide.runs.record import Run
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class Size:
    """How much is asked: prompts of each language, held-out prompts, and tokens of an answer."""

    instructions: int | None
    held_out: int
    tokens: int


SIZES = {"quick": Size(50, 24, 128), "usual": Size(None, 64, 256), "full": Size(None, 256, 512)}


@dataclass(frozen=True)
class Asked:
    """What the parts of an evaluation share. `keys`: LLaMA-Factory's keys that load any of the models."""

    ws: Workspace
    engine: Engine
    run: Run
    keys: dict[str, Any]
    held_out: HeldOut | None
    size: Size

    def both(self, conversations: Sequence[Sequence[Message]]) -> tuple[list[str], list[str]]:
        """The answers of the parent and of the tuned model."""
        return self.answers(self.run.reference, conversations), self.answers(self.run.policy, conversations)

    def answers(self, policy: Policy, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """The greedy answers of a policy."""
        args = {**self.keys, **policy.model_config()}
        return answers(self.ws, self.engine, policy, args, conversations, self.size.tokens)

    def divergence(self, policy: Policy, conversations: Sequence[Sequence[Message]]) -> divergence.Divergence:
        """How far a policy has moved from the parent of the run."""
        models = (policy, self.run.reference)
        return divergence.measure(self.ws, self.engine, models, self.keys, conversations, self.size.tokens)

    def conversations(self) -> list[list[Message]]:
        """Held-out prompts, each once; none where they cannot be read."""
        pairs = examples_of(self.ws, self.held_out) if self.held_out else []
        by_text = {str(messages): messages for messages in map(conversation_of, pairs)}
        return list(by_text.values())[: self.size.held_out]

    def prompts(self, language: str) -> list[InstructionPrompt]:
        """Bundled prompts with verifiable instructions in a language, "en" or "zh"."""
        return [prompt for prompt in load_prompts() if prompt.language == language][: self.size.instructions]


def followed(
    prompts: Sequence[InstructionPrompt], texts: Sequence[str], reading: Literal["strict", "loose"]
) -> list[float]:
    """For each prompt 1 if its answer follows all its instructions, else 0."""
    results = [check(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    return [float(all(result.strict if reading == "strict" else result.loose)) for result in results]
