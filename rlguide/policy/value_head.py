"""Whether a reward model has its value head: without it LLaMA-Factory scores with a random one, and only logs that."""

from __future__ import annotations

from pathlib import Path

from rlguide.errors import CheckpointError
from rlguide.policy.checkpoint import locate
from rlguide.policy.policy import Policy
from rlguide.policy.safetensors import read_header
from rlguide.workspace import Workspace

_AGAIN = "copy it again from where it was trained, or train it again"
WEIGHT = "v_head.summary.weight"


def check_value_head(ws: Workspace, model: Policy) -> None:
    """Check that the last part of a reward model's stack holds the value head, as the engine looks for it.

    That is `load_valuehead_params` (llamafactory 0.9.5, model/model_utils/valuehead.py): it gives None where it finds
    no file, and `load_model` then keeps the head as it was initialized. A value_head.bin is a pickle, and not opened.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    name = (model.base, *model.adapters)[-1]
    check_head_of(locate(ws, name), name)


def check_head_of(folder: Path, name: str) -> None:
    """The same of a single folder; `name` is how it is typed. Raises CheckpointError."""
    path = folder / "value_head.safetensors"
    if not path.exists():
        older = folder / "value_head.bin"
        if older.is_file() and older.stat().st_size:
            return
        raise CheckpointError(f"the reward model {name} has no {path.name}: its scores would be random", _AGAIN)
    if WEIGHT not in read_header(path):
        raise CheckpointError(f"{path} holds no {WEIGHT}: the scores would be random", _AGAIN)
