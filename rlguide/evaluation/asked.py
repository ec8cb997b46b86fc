"""What a run and its parent are asked in an evaluation, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from rlguide.conversation import Message, Response
from rlguide.engine.find import Engine
from rlguide.errors import DataError
from rlguide.evaluation import divergence
from rlguide.evaluation.asking import conversation_of
from rlguide.evaluation.config import HeldOut
from rlguide.evaluation.instructions.check import check
from rlguide.evaluation.instructions.prompts import LANGUAGES, InstructionPrompt, by_language, load_prompts
from rlguide.evaluation.scoring import examples_of
from rlguide.inference.loaded import LoadedPolicy
from rlguide.inference.store import stored_responses
from rlguide.policy.policy import Policy
from rlguide.runs.record import Run
from rlguide.workspace import Workspace


@dataclass(frozen=True)
class Size:
    """How much is asked: prompts of each language, held-out prompts, and tokens of a response."""

    instructions: int | None
    held_out: int
    tokens: int


SIZES = {"quick": Size(50, 24, 128), "usual": Size(None, 64, 256), "full": Size(None, 256, 512)}


@dataclass(frozen=True)
class Asked:
    """What the parts of an evaluation share.

    Attributes:
        keys: LLaMA-Factory's keys that load any of the models.
        languages: of the prompts with instructions.
        own_prompts: a file of prompts with instructions, instead of the bundled ones.
    """

    ws: Workspace
    engine: Engine
    run: Run
    keys: dict[str, Any]
    held_out: HeldOut | None
    size: Size
    languages: tuple[str, ...] = tuple(LANGUAGES)
    own_prompts: Path | None = None

    def both(self, conversations: Sequence[Sequence[Message]]) -> tuple[list[Response], list[Response]]:
        """The greedy responses of the parent and of the tuned model."""
        return self.responses(self.run.reference, conversations), self.responses(self.run.policy, conversations)

    def responses(self, policy: Policy, conversations: Sequence[Sequence[Message]]) -> list[Response]:
        """The greedy responses of a policy; those that it gave before are not asked again. Raises EngineError."""
        model = LoadedPolicy(self.ws, self.engine, policy, {**self.keys, **policy.model_config()})
        return stored_responses(model, conversations, self.size.tokens)

    def divergence(self, policy: Policy, conversations: Sequence[Sequence[Message]]) -> divergence.Divergence:
        """How far a policy has moved from the parent of the run."""
        models = (policy, self.run.reference)
        return divergence.measure(self.ws, self.engine, models, self.keys, conversations, self.size.tokens)

    @cached_property
    def conversations(self) -> list[list[Message]]:
        """Held-out prompts, each once; none where they cannot be read."""
        pairs = examples_of(self.ws, self.held_out) if self.held_out else []
        by_text = {str(messages): messages for messages in map(conversation_of, pairs)}
        return list(by_text.values())[: self.size.held_out]

    @cached_property
    def prompts(self) -> list[InstructionPrompt]:
        """Prompts with verifiable instructions, one language after another. Raises DataError: not readable, or none."""
        every = load_prompts(self.own_prompts) if self.own_prompts else load_prompts()
        found = by_language(every, self.languages)
        if not any(found):
            raise DataError(
                f"{self.own_prompts} has no prompt in {' or '.join(self.languages)}", "leave out --language"
            )
        limit = None if self.own_prompts else self.size.instructions
        return [prompt for prompts in found for prompt in prompts[:limit]]


def followed(
    prompts: Sequence[InstructionPrompt], texts: Sequence[str], reading: Literal["strict", "loose"]
) -> list[float]:
    """For each prompt 1 if its response follows all its instructions, else 0."""
    results = [check(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    return [float(all(result.strict if reading == "strict" else result.loose)) for result in results]
