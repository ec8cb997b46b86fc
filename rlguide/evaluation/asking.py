"""What models are asked in an evaluation, and what they have answered before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlguide.console import progress, say
from rlguide.data.example import Example
from rlguide.engine.chat import ChatSession, Message
from rlguide.engine.find import Engine
from rlguide.errors import DataError
from rlguide.policy.checkpoint import locate
from rlguide.policy.parts import digest_of_part
from rlguide.policy.policy import Policy
from rlguide.workspace import Workspace, read_json, user_cache, write_json

_VERSIONS = ("llamafactory", "torch", "transformers", "peft")


def conversation_of(example: Example) -> list[Message]:
    """The prompt of an example as messages."""
    return [{"role": role, "content": text} for role, text in example.spoken]


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


def remembered(kind: str, what: Mapping[str, Any], count: int, make: Callable[[], list[Any]]) -> list[Any]:
    """The list of `count` values that `make` gave for the same `what`, else what it gives now, kept for the next time.

    They lie in the user's cache, one file for each `what`; one that is damaged is made again.
    """
    text = json.dumps(what, sort_keys=True, ensure_ascii=False)
    path = user_cache() / kind / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
    kept = _kept(path, what)
    if kept is not None and len(kept) == count:
        return kept
    values = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"what": json.loads(text), "values": values})
    except (OSError, DataError) as error:
        say(f"note: not kept for the next time: {error}")
    return values


def _kept(path: Path, what: Mapping[str, Any]) -> list[Any] | None:
    try:
        found = read_json(path)
    except DataError:
        return None
    is_same = isinstance(found, dict) and found.get("what") == json.loads(json.dumps(dict(what)))
    values = found.get("values") if is_same else None
    return values if isinstance(values, list) else None


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
    what = {**content_of(ws, engine, policy, args), "asked": asked, "max_new_tokens": max_new_tokens}

    def ask() -> list[str]:
        found: dict[int, str] = {}
        with progress("answers") as bar, ChatSession(engine, dict(args), ws.root) as session:
            task = bar.add_task("answering", total=len(asked))
            for index, text in session.responses(asked, max_new_tokens=max_new_tokens):
                found[index] = text
                bar.update(task, completed=len(found))
        return [found[index] for index in range(len(asked))]

    kept = remembered("answers", what, len(asked), ask)
    return [str(text) for text in kept]
