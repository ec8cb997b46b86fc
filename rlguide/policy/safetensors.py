"""Read what a safetensors file holds (names, types, shapes) without reading a single weight.

Format: 8 bytes little-endian length N, N bytes of JSON, then the data; each tensor's `data_offsets` count
from the end of the JSON (https://github.com/huggingface/safetensors#format). A half-copied file is therefore
known by its size alone, in milliseconds, whatever the size of the model.

The package `safetensors` (0.8) is not used here: `safe_open` imports numpy, which costs more than the rest of a start;
it has one message for a file that is too short or too long, refuses types newer than itself, and hangs on a pipe.
"""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path

from rlguide.errors import CheckpointError

_LARGEST_HEADER = 100_000_000  # bytes; the format's own limit
_COPY_AGAIN = "copy or download it again, or choose another checkpoint (`rlguide checkpoints` lists them)"


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of the file: its type as the format names it ("BF16", "F32", ...) and its shape."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, TensorInfo]:
    """The tensors of a safetensors file, by name.

    Raises:
        CheckpointError: the file is missing, empty, truncated, too long, or not safetensors at all.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
            raise _not_safetensors(path)
        size = status.st_size
        with path.open("rb") as file:
            first = file.read(8)
            length = int.from_bytes(first, "little")
            if size == 0:
                raise CheckpointError(f"{path} is empty (0 bytes)", _COPY_AGAIN)
            if len(first) < 8 or length > _LARGEST_HEADER:
                raise _not_safetensors(path)
            if 8 + length > size:
                raise CheckpointError(f"{path} is truncated: it ends inside its header ({size:,} bytes)", _COPY_AGAIN)
            raw = file.read(length)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}", "check the path") from error
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError):
        raise _not_safetensors(path) from None
    if not isinstance(header, dict):
        raise _not_safetensors(path)
    tensors, data_end = _tensors(path, header)
    expected = 8 + length + data_end
    if size < expected:
        raise CheckpointError(f"{path} is truncated: {size:,} of {expected:,} bytes", _COPY_AGAIN)
    if size > expected:
        raise CheckpointError(f"{path} is damaged: {size - expected:,} bytes more than its header says", _COPY_AGAIN)
    return tensors


def _tensors(path: Path, header: dict[str, object]) -> tuple[dict[str, TensorInfo], int]:
    """The entries of a header, checked, and where the last one's data ends (bytes after the header)."""
    tensors: dict[str, TensorInfo] = {}
    data_end = 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if not isinstance(entry, dict):
            raise _not_safetensors(path)
        dtype = entry.get("dtype")
        shape, offsets = _sizes(entry.get("shape")), _sizes(entry.get("data_offsets"))
        if not isinstance(dtype, str) or shape is None or offsets is None:
            raise _not_safetensors(path)
        if len(offsets) != 2 or offsets[0] > offsets[1]:
            raise _not_safetensors(path)
        tensors[name] = TensorInfo(dtype, shape)
        data_end = max(data_end, offsets[1])
    return tensors, data_end


def _sizes(value: object) -> tuple[int, ...] | None:
    if isinstance(value, list) and all(type(item) is int and item >= 0 for item in value):
        return tuple(value)
    return None


def _not_safetensors(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is not a safetensors file (its header cannot be read)", _COPY_AGAIN)
