"""What a person asks for of a repository or folder with several splits, subsets or files."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rlguide.errors import UsageError


@dataclass(frozen=True)
class FileSelection:
    """Split, subset or patterns of files, as far as they are named; None and () mean: find out."""

    split: str | None = None
    heldout_split: str | None = None
    subset: str | None = None
    files: tuple[str, ...] = ()

    def check(self) -> None:
        """Raises UsageError for options that contradict each other."""
        if self.files and (self.split or self.heldout_split or self.subset):
            raise UsageError(
                "--file names the files, so --split, --heldout-split and --subset have no effect", "leave them out"
            )

    def recorded(self) -> dict[str, Any]:
        """What was asked for, for a manifest."""
        return {key: list(value) if key == "files" else value for key, value in asdict(self).items() if value}


ANYTHING = FileSelection()
