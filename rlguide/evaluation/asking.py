"""What models are asked in an evaluation, and their greedy answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlguide.console import progress
from rlguide.data.example import Example
from rlguide.engine.chat import ChatSession, Message
from rlguide.engine.find import Engine
from rlguide.policy.checkpoint import locate
from rlguide.policy.parts import digest_of_part
from rlguide.policy.policy import Policy
from rlguide.remembered import remembered
from rlguide.workspace import Workspace

_VERSIONS = ("llamafactory", "torch", "transformers", "peft", "vllm")


def conversation_of(example: Example) -> list[Message]:
    """The prompt of an example as messages."""
    return [{"role": role, "content": text} for role, text in example.spoken]


def messages_of(value: Any) -> list[Message]:
    """The messages of a prompt that was read from a file, each with role and content; [] if it is none."""
    found: list[Message] = []
    for message in value if isinstance(value, list) else ():
        texts = [message.get(key) for key in ("role", "content")] if isinstance(message, dict) else []
        if not texts or not all(isinstance(text, str) for text in texts):
            return []
        found.append({"role": str(texts[0]), "content": str(texts[1])})
    return found


def content_of(ws: Workspace, engine: Engine, policy: Policy, args: Mapping[str, Any]) -> dict[str, Any]:
    """What decides a model's answers: its weights, by their checksums, the keys that load it, the engine's versions.

    Raises:
        CheckpointError: a part cannot be read.
    """
    names = (policy.base, *policy.adapters)
    parts = [digest_of_part(locate(ws, name)) if locate(ws, name).is_dir() else name for name in names]
    paths = ("model_name_or_path", "adapter_name_or_path", "output_dir")
    return {
        "parts": parts,
        "keys": {key: value for key, value in args.items() if key not in paths},
        "engine": {name: engine.versions.get(name) for name in _VERSIONS},
    }


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
    asked = [list(messages) for messages in conversations]
    what = {**content_of(ws, engine, policy, args), "max_new_tokens": max_new_tokens}

    def ask(missing: list[int]) -> Iterator[tuple[int, str]]:
        with progress("answers") as bar, ChatSession(engine, dict(args), ws.root) as session:
            task = bar.add_task("answering", total=len(asked), completed=len(asked) - len(missing))
            for index, text in session.responses([asked[at] for at in missing], max_new_tokens=max_new_tokens):
                bar.advance(task)
                yield missing[index], text

    return [str(text) for text in remembered("answers", what, asked, ask)]
