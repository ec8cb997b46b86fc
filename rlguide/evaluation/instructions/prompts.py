"""The bundled prompts (`prompts.jsonl`, of scripts/make_instruction_prompts.py), and others of the same form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide.catalog.benchmarks import BUNDLED_INSTRUCTIONS
from rlguide.errors import DataError
from rlguide.evaluation.instructions.kinds import wrong_arguments

LANGUAGES = {"en": "English", "zh": "Chinese"}


@dataclass(frozen=True)
class Instruction:
    """One instruction that a program can verify: a kind of `kinds.yaml` and its arguments."""

    kind: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class InstructionPrompt:
    """A prompt in a language ("en" or "zh"), and the instructions in it."""

    id: str
    language: str
    prompt: str
    instructions: tuple[Instruction, ...]


def load_prompts(file: Path = BUNDLED_INSTRUCTIONS) -> list[InstructionPrompt]:
    """The prompts in a file of JSON lines: `id`, `language`, `prompt`, and `instructions` with `kind` and `arguments`.

    Raises:
        DataError: it cannot be read, or a row is not of this form.
    """
    return [_prompt(row, f"{file.name}, line {number}") for number, row in _rows(file)]


def by_language(
    prompts: Sequence[InstructionPrompt], codes: Iterable[str] = LANGUAGES
) -> list[list[InstructionPrompt]]:
    """The prompts of each language, in the order of the codes."""
    return [[prompt for prompt in prompts if prompt.language == code] for code in codes]


def _rows(file: Path) -> Iterator[tuple[int, Any]]:
    fix = 'give JSON lines such as {"id": ..., "language": "en", "prompt": ..., "instructions": [...]}'
    try:
        for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), start=1):
            if line.strip():
                yield number, json.loads(line)
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}", "check the path") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} is not JSON lines: {error}", fix) from error


def _prompt(row: Any, place: str) -> InstructionPrompt:
    try:
        instructions = tuple(Instruction(str(item["kind"]), dict(item["arguments"])) for item in row["instructions"])
        found = InstructionPrompt(str(row["id"]), str(row["language"]), str(row["prompt"]), instructions)
    except (KeyError, TypeError, ValueError) as error:
        fix = "a row needs id, language, prompt and instructions, each of these kind and arguments"
        raise DataError(f"{place} is not a prompt with instructions", fix) from error
    if found.language not in LANGUAGES:
        raise DataError(f"{place}: no language {found.language!r}", f"give {' or '.join(LANGUAGES)}")
    wrong = [wrong_arguments(item.kind, item.arguments) for item in instructions]
    if not wrong or any(wrong):
        what = next(filter(None, wrong), "no instruction")
        raise DataError(f"{place}: {what}", "see rlguide/evaluation/instructions/kinds.yaml for the kinds")
    return found
