"""Which chat template a checkpoint was trained with: read where it is recorded, else inferred from the model's name.

Preference training must use the template of SFT; with another one the policy and its reference get prompts in a
form they have never seen. LLaMA-Factory's own table (`DEFAULT_TEMPLATE`) holds chat and multimodal
models only: no text-only base model is in it, and hybrid thinking models stand there as "<name>-Thinking".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlguide.errors import UsageError
from rlguide.policy.base import language_part

# For models without a name we know. "llama" is distinguished by the size of its vocabulary below.
_BY_MODEL_TYPE = {
    "qwen3": "qwen3_nothink",
    "qwen3_moe": "qwen3_nothink",
    "qwen2": "qwen",
    "qwen2_moe": "qwen",
    "mistral": "mistral",
    "gemma": "gemma",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
    "glm4": "glm4",
    "granite": "granite3",
}

_LLAMA_BY_VOCABULARY = {128256: "llama3", 32000: "llama2", 49152: "smollm2"}
_BASE_ENDING = re.compile(r"-(base|pt)$", re.IGNORECASE)
_CHAT_ENDINGS = ("-Instruct", "-Chat", "-Thinking")


@dataclass(frozen=True)
class TemplateGuess:
    """A template and the reason for it, to be shown. `is_certain` is False where nothing states it."""

    name: str
    why: str
    is_certain: bool


def template_for(
    base: str,
    model_templates: Mapping[str, str],
    config: Mapping[str, Any] | None = None,
    recorded: str | None = None,
) -> TemplateGuess:
    """The template for a base model or full checkpoint.

    Args:
        base: hub id or folder of the base model.
        model_templates: the engine's table, model name to template (`Schema.model_templates`).
        config: the base's config.json, if it is on this machine.
        recorded: the template that SFT left on record (`Checkpoint.template`), if any.

    Raises:
        UsageError: it cannot be inferred; the message asks for --template and names near models.
    """
    if recorded:
        return TemplateGuess(recorded, "recorded beside the SFT checkpoint", True)
    names = {name.rpartition("/")[2].lower(): name for name in model_templates}
    for position, part in enumerate(_parts(base)):
        guess = _by_name(part, names, model_templates)
        if guess is not None:
            return guess if position == 0 else TemplateGuess(guess.name, f"{guess.why} (folder {part})", False)
    guess = _by_config(config or {})
    if guess is not None:
        return guess
    near = _near(_parts(base)[0] if _parts(base) else base, names)
    raise UsageError(
        f"no chat template is known for {base}",
        f"give it with --template, the same in SFT and ever after{near}",
    )


def _parts(base: str) -> list[str]:
    """The names in a path, last first; a hub cache folder is the model's name."""
    from rlguide.policy.base import model_name

    parts = [part for part in base.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    first = model_name(base)
    return [first, *[part for part in reversed(parts) if part != first]] if parts else []


def _by_name(part: str, names: Mapping[str, str], table: Mapping[str, str]) -> TemplateGuess | None:
    lower = part.lower().removeprefix("meta-")
    if lower in names:
        name = names[lower]
        return TemplateGuess(table[name], f"LLaMA-Factory's table names it for {name}", True)
    stem = _BASE_ENDING.sub("", lower)
    endings = _CHAT_ENDINGS if stem != lower else ("-Thinking", "-Instruct", "-Chat")
    for ending in endings:
        sibling = names.get(stem + ending.lower())
        if sibling is None:
            continue
        template = table[sibling]
        if stem == lower and ending == "-Thinking":  # Qwen/Qwen3-4B stands in the table as Qwen3-4B-Thinking
            return TemplateGuess(template, f"LLaMA-Factory's table names it for {sibling}", True)
        plain = f"{template}_nothink"
        if ending == "-Thinking" and plain in table.values():
            return TemplateGuess(plain, f"{part} is a base model: {sibling}'s template without thinking", False)
        return TemplateGuess(template, f"{part} is a base model: its sibling {sibling} uses it", False)
    return None


def _by_config(config: Mapping[str, Any]) -> TemplateGuess | None:
    config = language_part(config)
    model_type, vocabulary = config.get("model_type"), config.get("vocab_size")
    if model_type == "llama" and isinstance(vocabulary, int) and vocabulary in _LLAMA_BY_VOCABULARY:
        name = _LLAMA_BY_VOCABULARY[vocabulary]
        return TemplateGuess(name, f"config.json: llama with a vocabulary of {vocabulary:,}", False)
    if isinstance(model_type, str) and model_type in _BY_MODEL_TYPE:
        return TemplateGuess(_BY_MODEL_TYPE[model_type], f"config.json: model_type {model_type}", False)
    return None


def _near(word: str, names: Mapping[str, str]) -> str:
    import difflib

    near = difflib.get_close_matches(word.lower(), list(names), n=3, cutoff=0.5)
    if not near:
        return ", e.g. --template chatml"
    return " (near names: " + ", ".join(names[name] for name in near) + ")"
