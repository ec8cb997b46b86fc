"""The Modelfile with which ollama serves a merged model as it was trained: template, system prompt, stop tokens.

LLaMA-Factory writes one, too (0.9.5, data/template.py, `get_ollama_modelfile`), which is not used: it writes the token
of the beginning into the template, though ollama's tokenizer puts it there again where the model's does (llama3, gemma,
mistral, deepseek); puts the system prompt before the first message where training had it inside (gemma, mistral); knows
no empty thought; and names a stop token that a tokenizer lacks "None". The format: ollama's docs/modelfile.md and
docs/template.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODELFILE = "Modelfile"
CONTEXT = 4096  # tokens that ollama keeps by default (its docs/faq.md); never fewer, as far as the model has them


@dataclass(frozen=True)
class TemplateParts:
    """A template as texts, of `rlguide_worker/template_parts.py`.

    Attributes:
        system, user, assistant: what stands before and after a text of these roles.
        system_in_user: whether the system prompt stands within the first message of the user.
        thought: what is put before a response: an empty thought.
        positions: of the model; None if that is unknown.
    """

    prefix: str
    system: tuple[str, str]
    user: tuple[str, str]
    assistant: tuple[str, str]
    system_in_user: bool
    default_system: str
    thought: str
    stops: tuple[str, ...]
    positions: int | None


def read_parts(value: Any) -> TemplateParts | None:
    """The parts that a worker told; None if it is something else."""
    if not isinstance(value, Mapping):
        return None
    texts = [value.get(key) for key in ("prefix", "default_system", "thought")]
    around = [value.get(key) for key in ("system", "user", "assistant")]
    stops, positions = value.get("stops"), value.get("positions")
    is_whole = (
        all(isinstance(text, str) for text in texts)
        and all(_is_texts(pair) and len(pair) == 2 for pair in around if pair is not None)
        and None not in around
        and _is_texts(stops)
        and isinstance(value.get("system_in_user"), bool)
    )
    if not is_whole or stops is None:
        return None
    prefix, default, thought = map(str, texts)
    system, user, assistant = ((str(pair[0]), str(pair[1])) for pair in around if pair is not None)
    size = positions if type(positions) is int and positions > 0 else None
    return TemplateParts(prefix, system, user, assistant, value["system_in_user"], default, thought, tuple(stops), size)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def modelfile(parts: TemplateParts, cutoff: int | None = None) -> str:
    """The Modelfile, for a model in its folder.

    Args:
        cutoff: tokens of the longest example in training.

    Raises:
        ValueError: the template has something that a Modelfile cannot say.
    """
    context = max(CONTEXT, cutoff or 0)
    lines = [
        "# Template, system prompt and stop tokens as in training; written by rlguide export.",
        "FROM .",
        "",
        f"TEMPLATE {_quoted(template(parts))}",
        "",
    ]
    if parts.default_system:
        lines += [f"SYSTEM {_quoted(parts.default_system)}", ""]
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in parts.stops]
    lines += [f"PARAMETER num_ctx {min(context, parts.positions or context)}"]
    return "\n".join(lines) + "\n"


def retargeted(text: str, weights: str) -> str:
    """A Modelfile of `modelfile` for a GGUF file, named from the Modelfile's own folder."""
    return text.replace("\nFROM .\n", f"\nFROM {_quoted(weights)}\n", 1)


def template(parts: TemplateParts) -> str:
    """The same as a template of Go's text/template, over ollama's `.System` and `.Messages`.

    Raises:
        ValueError: a text of it would be taken for code.
    """
    for text in (parts.prefix, parts.thought, *parts.system, *parts.user, *parts.assistant):
        if "{{" in text or "}}" in text:
            raise ValueError("its texts hold braces, which stand for code in ollama")
    before, after = parts.system
    system = f"{{{{ if .System }}}}{before}{{{{ .System }}}}{after}{{{{ end }}}}"
    inner = ""
    if parts.system_in_user:
        # Messages may hold the system prompt, too, so the first one of the user is told by what is not yet said.
        system = "{{ $system := .System }}"
        inner = f'{{{{ if $system }}}}{before}{{{{ $system }}}}{after}{{{{ $system = "" }}}}{{{{ end }}}}'
    is_last = "{{ if eq (len (slice $.Messages $i)) 1 }}"
    thought = f"{is_last}{parts.thought}{{{{ end }}}}" if parts.thought else ""
    user = f"{parts.user[0]}{inner}{{{{ $message.Content }}}}{parts.user[1]}{thought}"
    assistant = f"{parts.assistant[0]}{{{{ $message.Content }}}}{parts.assistant[1]}"
    return (
        f"{parts.prefix}{system}{{{{ range $i, $message := .Messages }}}}"
        f'{{{{ if eq $message.Role "user" }}}}{user}'
        f'{{{{ else if eq $message.Role "assistant" }}}}{assistant}{{{{ end }}}}{{{{ end }}}}'
    )


def _quoted(text: str) -> str:
    if '"""' in text or text.endswith('"'):
        raise ValueError("a text of it holds the quotation marks that end a text in a Modelfile")
    return f'"""{text}"""'
