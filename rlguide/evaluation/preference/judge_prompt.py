"""What a judge is asked, and how its reply is read."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlguide.conversation import Message
from rlguide.errors import DataError
from rlguide.workspace import read_text

BUILT_IN = Path(__file__).parents[2] / "catalog" / "judge.yaml"
Verdict = Literal["first", "second", "tie"]
_LETTERS: dict[str, Verdict] = {"A": "first", "B": "second", "C": "tie"}
_FIELDS = ("prompt", "first", "second", "fence")
_FIELD = re.compile(r"\{(prompt|first|second|fence)\}")
_LETTER = re.compile(r"[\s\"'`*\[({]*([ABC])[\s\"'`*\])}.]*")
_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_AGAIN = "Reply with one letter and nothing else: A, B, or C if neither is better."
_LONGEST = 100_000  # characters of a file


@dataclass(frozen=True)
class JudgePrompt:
    """Two texts with fields for the prompt, the two responses and the fence."""

    system: str
    user: str

    def messages(self, prompt: list[Message], first: str, second: str) -> list[Message]:
        """What the judge is asked of two responses, the one that it sees first being `first`."""
        told = prompt[0]["content"] if len(prompt) == 1 else "\n\n".join(f"{m['role']}: {m['content']}" for m in prompt)
        values = {"prompt": told, "first": first, "second": second, "fence": _fence(told, first, second)}
        filled = [_FIELD.sub(lambda found: values[found[1]], text) for text in (self.system, self.user)]
        system = [{"role": "system", "content": filled[0]}] if filled[0] else []
        return [*system, {"role": "user", "content": filled[1]}]


def load_judge_prompt(path: Path | None = None) -> JudgePrompt:
    """The prompt in a file; None: the one that rlguide brings.

    Raises:
        DataError: it is not what it should be.
    """
    import yaml

    path = path or BUILT_IN
    fix = f"copy {BUILT_IN} and change its words"
    text = read_text(path)
    try:
        value: Any = yaml.safe_load(text) if len(text) <= _LONGEST else None
    except (yaml.YAMLError, RecursionError, ValueError):
        value = None
    known = isinstance(value, dict) and set(value) <= {"system", "user"} and "user" in value
    if not known or not all(isinstance(item, str) for item in value.values()):
        raise DataError(f"{path} is no prompt of a judge: it needs `user`, and may have `system`, both texts", fix)
    missing = [f"{{{name}}}" for name in _FIELDS if f"{{{name}}}" not in value["user"]]
    if missing:
        raise DataError(f"{path}: `user` has no {', '.join(missing)}", fix)
    return JudgePrompt(value.get("system", ""), value["user"])


def asked_again(messages: list[Message], reply: str) -> list[Message]:
    """What a judge is asked whose reply was no verdict."""
    return [*messages, {"role": "assistant", "content": reply}, {"role": "user", "content": _AGAIN}]


def verdict_in(reply: str) -> Verdict | None:
    """The verdict that a reply is: one letter, or JSON with one value that is one; None if it is anything else.

    A letter within a sentence is no verdict: "A is not better" has one, too.
    """
    text = _THOUGHT.sub("", reply, count=1) if reply.lstrip().startswith("<think>") else reply
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and len(value) == 1:
        text = str(next(iter(value.values())))
    found = _LETTER.fullmatch(text)
    return _LETTERS[found[1]] if found else None


def _fence(*texts: str) -> str:
    """A line that none of the texts holds. It follows from all of them, so that the same pair is asked in the same
    words, and whoever wrote one of them could not know it."""
    number = 0
    while True:
        line = f"<<{hashlib.sha256(json.dumps([number, *texts]).encode()).hexdigest()[:24]}>>"
        if not any(line in text for text in texts):
            return line
        number += 1
