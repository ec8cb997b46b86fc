"""A prompt with the response of each model: the file that a comparison leaves, which votes and judges go on from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide.conversation import Message, Response, messages_of, response_of
from rlguide.errors import DataError
from rlguide.workspace import Workspace, atomic_write, read_text

RESPONSES = "responses.jsonl"
FOLDER = "comparisons"
INSTRUCTIONS, HELD_OUT, FILE = "instructions", "held out", "file"  # where a prompt is from


@dataclass(frozen=True)
class Compared:
    """A prompt with the response of each model.

    Attributes:
        source: where the prompt is from: "instructions" (the bundled ones), "held out" (of the run), or "file".
        prompt: messages, each with `role` and `content`; at least one.
        responses: by the short name of the model; all records of a comparison have the same names in the same order.
    """

    source: str
    prompt: list[Message]
    responses: dict[str, Response]

    @property
    def models(self) -> tuple[str, ...]:
        """The short names of the models, in the order of the command."""
        return tuple(self.responses)

    def key(self, *models: str) -> str:
        """What is judged, in 32 hex digits: the prompt, the responses of these models, and which model gave which."""
        texts = {name: self.responses[name].text for name in models}
        return hashlib.sha256(json.dumps([self.prompt, texts], sort_keys=True).encode()).hexdigest()[:32]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        responses = {name: response.as_dict() for name, response in self.responses.items()}
        return {"source": self.source, "prompt": self.prompt, "responses": responses}


def texts_of(record: Compared) -> list[str]:
    """The texts of its responses, in the order of the models."""
    return [response.text for response in record.responses.values()]


def compared_of(value: Any) -> Compared | None:
    """The record that a file describes as `Compared.as_dict` does; None if it describes none."""
    if not isinstance(value, Mapping) or not isinstance(value.get("responses"), Mapping):
        return None
    source, prompt = value.get("source"), messages_of(value.get("prompt"))
    responses = {str(name): response_of(item) for name, item in value["responses"].items()}
    whole = {name: item for name, item in responses.items() if item is not None}
    if not isinstance(source, str) or not prompt or not whole or len(whole) < len(responses):
        return None
    return Compared(source, prompt, whole)


def folder_of(ws: Workspace, name: str) -> Path:
    """Where the comparison of this name lies; `name` is one part of a path."""
    return ws.root / FOLDER / name


def keep_compared(folder: Path, found: Sequence[Compared]) -> Path:
    """Write `responses.jsonl` in the folder of a comparison, a line for each prompt; returns the file.

    Raises:
        RlguideError: it cannot be written.
    """
    path = folder / RESPONSES
    write_compared(path, found)
    return path


def write_compared(path: Path, found: Sequence[Compared]) -> None:
    """Write records as JSON lines. Raises RlguideError."""
    with atomic_write(path) as file:
        # ASCII, because half a surrogate pair, which a file of prompts may hold, cannot be written in UTF-8.
        file.writelines(json.dumps(item.as_dict()) + "\n" for item in found)


def read_compared(folder: Path) -> list[Compared]:
    """The records of a comparison, in their order; at least one, all of the same models.

    Raises:
        DataError: there is no such file, or it is damaged; the fix is to compare again, which asks no model again.
    """
    path = folder / RESPONSES
    fix = "run the same `rlguide compare` again: what the models responded is stored, and not asked again"
    found: list[Compared] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = compared_of(json.loads(line))
        except (ValueError, RecursionError):
            record = None
        if record is None or (found and record.models != found[0].models):
            raise DataError(f"{path}, line {number} is no prompt with the responses of the models", fix)
        found.append(record)
    if not found:
        raise DataError(f"{path} is empty", fix)
    return found
