"""Refuse to merge an adapter that trains one of two tied layers: the merged model would be another one.

Where a base ties its output layer to its embeddings (`tie_word_embeddings`), an adapter with `additional_target:
embed_tokens` trains a copy of one of them, and the stack has two different matrices. One ordinary folder has room for
one: whoever loads it ties them again. Measured with LLaMA-Factory 0.9.5 and layers changed by noise of 0.01, compared
as in `merge_compare`: log-probabilities are off by 0.30 nats (embed_tokens), 0.24 (lm_head) or 0.52 (both), with the
same greedy responses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlguide.errors import CheckpointError, DataError, UsageError
from rlguide.policy.base import BaseModel, find_base, language_part
from rlguide.policy.checkpoint import locate
from rlguide.policy.parts import weight_files
from rlguide.policy.policy import Policy
from rlguide.policy.safetensors import read_header
from rlguide.workspace import Workspace, read_json

# What architectures call their embeddings and their output layer (get_input_embeddings, get_output_embeddings).
_INPUT = ("embed_tokens", "wte", "embed_in", "word_embeddings", "tok_embeddings")
_OUTPUT = ("lm_head", "embed_out", "output_layer")


def check_tied(ws: Workspace, policy: Policy) -> None:
    """Raises UsageError for a stack with an adapter on one of the layers that its base ties."""
    if not _is_tied(find_base(ws, policy.base)):
        return
    for adapter in policy.adapters:
        layer = _trained_layer(locate(ws, adapter))
        if layer is not None:
            raise UsageError(
                f"{adapter} trains {layer}, which {policy.base} ties to another layer: merged, they are another model",
                "use base and adapters as they are, as `rlguide chat` does; or train without additional_target",
            )


def _is_tied(base: BaseModel) -> bool:
    """Whether output layer and embeddings are one matrix; where config.json does not say it, the weights do."""
    config = base.config or {}
    for place in (config, language_part(config)):
        if isinstance(place.get("tie_word_embeddings"), bool):
            return bool(place["tie_word_embeddings"])
    files = [path for path in weight_files(base.folder) if path.suffix == ".safetensors"] if base.folder else []
    names = {part for path in files for name in read_header(path) for part in name.split(".")}
    return bool(files) and not names.intersection(_OUTPUT)


def _trained_layer(adapter: Path) -> str | None:
    """The embeddings or output layer that an adapter changes, None if it leaves both alone."""
    try:
        config: Mapping[str, Any] = read_json(adapter / "adapter_config.json")
        saved = config.get("modules_to_save")
    except (DataError, AttributeError):
        return None  # `check_policy` says what is wrong with it
    found = [str(name).rpartition(".")[2] for name in saved] if isinstance(saved, list) else []
    try:
        for name in read_header(adapter / "adapter_model.safetensors"):
            layer, mark, _ = name.partition(".lora_")
            found += [layer.rpartition(".")[2]] if mark else []
    except CheckpointError:
        pass  # a .bin file, which is not opened
    return next((name for name in found if name in (*_INPUT, *_OUTPUT)), None)
