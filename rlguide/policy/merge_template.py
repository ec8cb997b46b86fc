"""Whether a merged model's own chat template writes prompts as the engine's did in training, token for token.

The engine keeps the template of the base in what it exports (data/template.py, `fix_jinja_template`), and that may
write another system prompt: SmolLM2's differs from LLaMA-Factory's `smollm2` by a full stop, and greedy responses with
it. Who serves the folder uses its own template.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from rlguide.console import say, warn
from rlguide.engine.find import Engine
from rlguide.engine.job import Command, stream_worker
from rlguide.engine.worker import worker_command
from rlguide.errors import EngineError
from rlguide.policy.modelfile import MODELFILE, modelfile, read_parts
from rlguide.workspace import atomic_write

_KEYS = ("default_system", "enable_thinking", "trust_remote_code")
_SHOWN = 40  # characters beside the first difference


def match_template(engine: Engine, folder: Path, template: str, keys: Mapping[str, Any]) -> None:
    """Give a merged model the template of its training where its own writes other prompts; say so, or warn.

    The engine's Modelfile is replaced by one that is right for ollama (policy.modelfile), or removed.

    Args:
        keys: the LLaMA-Factory keys that it is loaded with.
    """
    found = _compared(engine, folder, template, keys)
    _write_modelfile(folder, found, keys.get("cutoff_len"))
    if found is None or (found.get("same") is True and not found.get("changed")):
        return
    theirs, ours = _difference(str(found.get("theirs")), str(found.get("ours")))
    if found.get("same") is True:
        say(f"the base's chat template writes {theirs} where training had {ours}: the merged model has {template}'s")
    elif theirs == ours:
        warn(f"the merged model's chat template gives other tokens than {template} did in training, of the same text")
    else:
        warn(f"the merged model's chat template writes {theirs} where training had {ours}: serve it with {template}")


def _write_modelfile(folder: Path, found: Mapping[str, Any] | None, cutoff: Any) -> None:
    (folder / MODELFILE).unlink(missing_ok=True)
    parts = read_parts((found or {}).get("parts"))
    try:
        text = modelfile(parts, cutoff=cutoff if type(cutoff) is int else None) if parts else ""
    except ValueError:
        return
    if text:
        with atomic_write(folder / MODELFILE) as file:
            file.write(text)


def _compared(engine: Engine, folder: Path, template: str, keys: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the worker found; None if it failed, which is said."""
    arguments = {"template": template, **{key: keys[key] for key in _KEYS if keys.get(key) is not None}}
    command = Command(tuple(worker_command(engine, "match_template", str(folder), json.dumps(arguments))))
    try:
        with closing(stream_worker(engine, command, timeout=300.0)) as documents:
            found = next(documents, None)
            for _ in documents:  # to its end, so that its exit code is seen
                pass
    except EngineError as error:
        warn(f"the merged model's chat template was not compared with that of training: {error.what}")
        return None
    return found if isinstance(found, dict) else None


def _difference(theirs: str, ours: str) -> tuple[str, str]:
    """Both texts from just before their first difference, on one line each."""
    same = next((at for at, (one, other) in enumerate(zip(theirs, ours, strict=False)) if one != other), len(ours))
    start = max(same - _SHOWN // 2, 0)
    return repr(theirs[start : start + _SHOWN]), repr(ours[start : start + _SHOWN])
