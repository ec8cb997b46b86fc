"""Other models beside the one that is chatted with: its parent, or any that is named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rlguide.console import say
from rlguide.errors import UsageError
from rlguide.inference.choose import SFT, Choice
from rlguide.progress import format_bytes
from rlguide.serving.chat.kept import Kept


@dataclass
class Others:
    """Models to compare with, loaded at first use and kept.

    Attributes:
        choice: how they are found; its `run` is the one that is chatted with, None for anything that is no run.
        is_parent: whether the model that is chatted with is itself the parent (`--sft`).
    """

    choice: Choice
    is_parent: bool = False
    _kept: dict[str, Kept] = field(default_factory=dict)

    def named(self, name: str, beside: Kept) -> Kept:
        """The model of this name, loaded; "": the parent. `beside`: the model that is chatted with.

        Raises:
            UsageError: there is no parent.
            RlguideError: it cannot be found or loaded.
        """
        if not name and (self.choice.run is None or self.is_parent):
            what = "this is the model that the run started from" if self.is_parent else f"{beside.name} is no run"
            raise UsageError(
                f"{what}, so it has no parent to compare with", "name a run or a checkpoint: `/compare NAME`"
            )
        key = name or SFT
        if key not in self._kept:
            self._kept[key] = Kept(self.choice.named(key))
        other = self._kept[key]
        if not other.is_loaded:
            say(f"loading {other.model.title}{_memory(beside)}; it stays loaded" if other.is_ours else f"asking {key}")
            other.load()
        return other

    def __exit__(self, *error: Any) -> None:
        for other in self._kept.values():
            other.__exit__(*error)

    def __enter__(self) -> Others:
        return self


def _memory(beside: Kept) -> str:
    """What loading another model of the same base takes, if that is known."""
    if beside.weight is None:
        return ""
    device = beside.model.device
    memory = "main memory" if device == "cpu" else f"memory of {device}"
    return f", which takes about as much {memory} as the policy: another {format_bytes(beside.weight)}"
