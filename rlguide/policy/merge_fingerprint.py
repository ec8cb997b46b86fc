"""Which stack a merged model was made of, by checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlguide.errors import CheckpointError, DataError
from rlguide.policy.base import cached_file, find_base, language_part
from rlguide.policy.checkpoint import check_full_model, locate
from rlguide.policy.parts import adapter_digest, weight_files
from rlguide.policy.policy import Policy
from rlguide.policy.safetensors import read_header
from rlguide.workspace import Workspace, read_json

MANIFEST = "rlguide.json"  # what was merged, beside the merged model
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
# Keys of a config that decide how prompts are written, with their types; a merged model keeps them in its MANIFEST.
PROMPT_KEYS: dict[str, type] = {"default_system": str, "tool_format": str, "enable_thinking": bool}
FLOATS = {*DTYPES, "F64", "F8_E4M3", "F8_E5M2"}


def fingerprint(ws: Workspace, policy: Policy) -> dict[str, Any]:
    """What decides the merged weights: base (by name and files), adapters (by SHA-256), template, type.

    Raises:
        CheckpointError: a part is missing.
    """
    base = find_base(ws, policy.base)
    config = cached_file(policy.base, "config.json")
    folder = base.folder or (config.parent if config else None)
    weights = weight_files(folder) if folder else []
    # A local base can be trained again in place; a snapshot of the hub cannot, and its folder is named by commit.
    stamps = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in weights} if base.folder else {}
    return {
        "base": policy.base,
        "base_commit": folder.name if folder and not base.folder else None,
        "base_files": stamps,
        "base_bytes": sum(path.stat().st_size for path in weights),
        "dtype": _dtype(base.config or {}, weights),
        "template": policy.template,
        "adapters": [{"path": item, "sha256": adapter_digest(locate(ws, item))} for item in policy.adapters],
    }


def is_merge_of(folder: Path, found: Mapping[str, Any]) -> bool:
    """Whether `folder` holds, complete and unchanged, the merge of what the fingerprint says (paths may differ)."""
    try:
        manifest = read_json(folder / MANIFEST)
        check_full_model(folder)
        sizes = {path.name: path.stat().st_size for path in weight_files(folder)}
        return bool(manifest["files"] == sizes and _identity(manifest) == _identity(found))
    except (DataError, CheckpointError, KeyError, TypeError, OSError):
        return False


def _identity(values: Mapping[str, Any]) -> tuple[Any, ...]:
    adapters = [item["sha256"] for item in values["adapters"]]
    keys = ("base", "base_commit", "base_files", "dtype", "template")
    return (*(values[key] for key in keys), adapters)


def merged_prompt_keys(folder: Path) -> dict[str, Any]:
    """The keys with which the stack that was merged into this folder wrote its prompts; {} for any other folder."""
    try:
        values = read_json(folder / MANIFEST)["prompts"]
        return {key: values[key] for key, kind in PROMPT_KEYS.items() if isinstance(values.get(key), kind)}
    except (DataError, KeyError, TypeError, AttributeError):
        return {}


def digest_of(found: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits of a fingerprint, for a folder's name."""
    return hashlib.sha256(repr(_identity(found)).encode()).hexdigest()[:8]


def _dtype(config: Mapping[str, Any], weights: list[Path]) -> str | None:
    """The type in which the engine loads the base: what its config says, else what its first weights are."""
    for place in (config, language_part(config)):
        for key in ("dtype", "torch_dtype"):
            if isinstance(place.get(key), str):
                return str(place[key])
    for path in weights[:1]:
        if path.suffix == ".safetensors":
            for tensor in read_header(path).values():
                if tensor.dtype in FLOATS:
                    return DTYPES.get(tensor.dtype)
    return None
