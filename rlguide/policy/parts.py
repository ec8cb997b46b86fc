"""Whether the models below a run are still those that it was trained on, by checksums that the run keeps.

A folder can be trained again in place, or another model can be copied into it. The adapter above it would then be
applied to another model, or resumed on it, and compared with another reference, without a word from the engine.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from rlguide.errors import CheckpointError, DataError
from rlguide.policy.checkpoint import locate
from rlguide.policy.run_record import RunRecord
from rlguide.workspace import Workspace, read_json

_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# What adapter_config.json says of its surroundings; all else there decides what the adapter does.
_NOT_OF_THE_ADAPTER = ("base_model_name_or_path", "revision", "inference_mode", "peft_version")
# Of a full model only samples are read: after a training nearly every number is another.
_SAMPLES, _SAMPLE_BYTES = 16, 1 << 16


def digests_of_parts(ws: Workspace, names: set[str]) -> dict[str, str]:
    """The checksums of those of these models and adapters that lie on this machine, outside the hub's cache.

    Raises:
        CheckpointError: one of them cannot be read.
    """
    found = {name: digest_of_part(locate(ws, name)) for name in sorted(names) if locate(ws, name).is_dir()}
    return {name: digest for name, digest in found.items() if digest is not None}


def check_parts(ws: Workspace, name: str, record: RunRecord) -> None:
    """Refuse a run whose base or adapters below it are not what they were when it was trained.

    A part that is gone is not looked at, nor is any of a run of an earlier version, which kept no checksums.

    Raises:
        CheckpointError: naming the part.
    """
    for part, digest in (record.parts or {}).items():
        path = locate(ws, part)
        if isinstance(digest, str) and path.is_dir() and digest_of_part(path) not in (None, digest):
            raise CheckpointError(
                f"{part} is not the model that {name} was trained on: its weights have changed since",
                "put it back as it was, or train anew on what it is now, with another --output-dir",
            )


def digest_of_part(folder: Path) -> str | None:
    """The checksum of an adapter or of a full model; None if the folder holds neither.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        if any((folder / name).is_file() for name in _ADAPTER_WEIGHTS):
            return adapter_digest(folder)
        digest = hashlib.sha256()
        files = weight_files(folder)
        for path in files:
            _add_samples(digest, path)
        return digest.hexdigest() if files else None
    except OSError as error:
        raise CheckpointError(
            f"cannot read {error.filename or folder}: {error.strerror or error}", "check the folder's permissions"
        ) from error


def adapter_digest(folder: Path) -> str:
    """The SHA-256 of an adapter's weights and of what its config says about them, such as the scale (lora_alpha).

    Raises:
        CheckpointError: there are no weights, or no config.
        OSError: they cannot be read.
    """
    weights = [folder / name for name in _ADAPTER_WEIGHTS if (folder / name).is_file()]
    try:
        values = read_json(folder / "adapter_config.json")
    except DataError as error:
        raise CheckpointError(error.what, "copy the folder again, or choose another one") from error
    if not weights or not isinstance(values, dict):
        raise CheckpointError(f"{folder} has no adapter weights", "copy the folder again, or choose another one")
    kept = {key: value for key, value in values.items() if key not in _NOT_OF_THE_ADAPTER}
    for key, value in kept.items():
        if isinstance(value, list):  # peft writes sets in any order
            kept[key] = sorted(value, key=str)
    with weights[0].open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps(kept, sort_keys=True).encode())
    return digest.hexdigest()


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a full model's weights, by name; safetensors before pickles, which are never opened."""
    for pattern in ("model*.safetensors", "pytorch_model*.bin"):
        files = [path for path in sorted(folder.glob(pattern)) if path.is_file()]
        if files:
            return files
    return []


def _add_samples(digest: hashlib._Hash, path: Path) -> None:
    size = path.stat().st_size
    digest.update(f"{path.name} {size}\n".encode())
    step = max(size // _SAMPLES, _SAMPLE_BYTES)
    with path.open("rb") as file:
        for start in range(0, size, step):
            file.seek(start)
            digest.update(file.read(_SAMPLE_BYTES))
