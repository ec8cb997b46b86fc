"""Whether responses follow the instructions of their prompts, strictly and loosely, and the accuracies of IFEval.

Strict and loose are those of IFEval (Zhou et al. 2023, arXiv 2311.07911, section 3): a response follows an instruction
loosely if the response itself follows it, or what is left of it without its first line, its last line or both, each
with and without asterisks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlguide.evaluation.instructions.prompts import InstructionPrompt
from rlguide.evaluation.instructions.verifiers import follows
from rlguide.statistics import Proportion, proportion


@dataclass(frozen=True)
class Result:
    """For each instruction of a prompt, in order: whether a response follows it strictly, and loosely."""

    strict: tuple[bool, ...]
    loose: tuple[bool, ...]


def check(prompt: InstructionPrompt, response: str) -> Result:
    """Hold a response against the instructions of its prompt. A blank response follows none."""
    versions = variants(response)
    followed = [[follows(item.kind, item.arguments, text) for text in versions] for item in prompt.instructions]
    return Result(tuple(found[0] for found in followed), tuple(map(any, followed)))


def variants(response: str) -> list[str]:
    """The response, and its seven loose variants."""
    lines = response.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    return [version for text in (response, *cut) for version in (text, text.replace("*", ""))]


def prompt_accuracy(results: Sequence[Result], loose: bool = False) -> Proportion:
    """The share of prompts all of whose instructions are followed.

    Raises ValueError of no results.
    """
    return proportion(sum(all(_flags(result, loose)) for result in results), len(results))


def instruction_accuracy(results: Sequence[Result], loose: bool = False) -> Proportion:
    """The share of instructions that are followed.

    The interval takes instructions of one prompt for independent, and is a little narrow for that.
    Raises ValueError of no results.
    """
    flags = [flag for result in results for flag in _flags(result, loose)]
    return proportion(sum(flags), len(flags))


def _flags(result: Result, loose: bool) -> tuple[bool, ...]:
    return result.loose if loose else result.strict
