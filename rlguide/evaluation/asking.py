"""What models are asked in an evaluation, and their greedy responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rlguide.conversation import Message
from rlguide.data.example import Example
from rlguide.engine.find import Engine
from rlguide.inference.loaded import LoadedPolicy
from rlguide.inference.store import stored_responses
from rlguide.policy.policy import Policy
from rlguide.workspace import Workspace


def conversation_of(example: Example) -> list[Message]:
    """The prompt of an example as messages."""
    return [{"role": role, "content": text} for role, text in example.spoken]


def answers(
    ws: Workspace,
    engine: Engine,
    policy: Policy,
    args: Mapping[str, Any],
    conversations: Sequence[Sequence[Message]],
    max_new_tokens: int,
) -> list[str]:
    """A policy's greedy answers to the conversations, in their order; those it gave before are not asked again.

    Args:
        args: LLaMA-Factory's keys that load the policy.
        max_new_tokens: an answer is cut there.

    Raises:
        EngineError: the engine failed.
    """
    model = LoadedPolicy(ws, engine, policy, args)
    return [response.text for response in stored_responses(model, conversations, max_new_tokens)]
