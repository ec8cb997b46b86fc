"""Names of datasets: which are safe, and those of what belongs to one: its held-out split and its views."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence

from rlguide.errors import UsageError

_PLAIN_NAME = re.compile(r"[^\W\d_][\w.-]*", re.UNICODE)
_HELDOUT = "_test"
_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def safe_name(text: str) -> str:
    """The nearest name that LLaMA-Factory's comma-separated `dataset:` and a plain YAML value both take.

    Letters of any language, digits, `_`, `-` and `.`; it begins with a letter and is not a YAML word such as `on`.
    """
    import unicodedata

    name = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text)).strip("_.-")
    if not _PLAIN_NAME.fullmatch(name) or name.lower() in _YAML_WORDS:
        name = f"data_{name}"
    while len(name.encode()) > 120:  # leaves room for .manifest.json within the 255 bytes of a file name
        name = name[:-1]
    return name.rstrip("_.-")


def folded(name: str) -> str:
    """What is equal for names whose files are the same one on a disk that ignores case (macOS, Windows)."""
    import unicodedata

    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def missing_part(pattern: re.Pattern[str], paths: Sequence[str]) -> str | None:
    """The first numbered part (`-00001-of-00003`) that one of these files tells of and that is not among them.

    Args:
        pattern: fits a whole path; its groups are what stands before the number, how many parts there are, the end.
    """
    there = set(paths)
    for match in filter(None, map(pattern.fullmatch, paths)):
        start, total, end = match.groups()
        parts = (f"{start}{number:05d}-of-{total}{end}" for number in range(int(total)))
        if part := next((part for part in parts if part not in there), None):
            return part
    return None


def check_name(name: str) -> None:
    """Raises UsageError if `name` cannot be a dataset's name."""
    if name != safe_name(name):
        raise UsageError(
            f"{name!r} cannot be a dataset name: LLaMA-Factory splits names at commas, and YAML has words of its own",
            f"use letters, digits, _ and -, for example --name {safe_name(name)}",
        )


def heldout_name(name: str) -> str:
    """The dataset of the rows that `name` holds out."""
    return name + _HELDOUT


def parent_name(name: str) -> str:
    """The dataset that `name` would be held out from; `name` itself where it is not the name of a held-out split."""
    return name.removesuffix(_HELDOUT)


def is_heldout(name: str, among: Container[str]) -> bool:
    """Whether `name` is the held-out split of one of the datasets `among`."""
    return parent_name(name) != name and parent_name(name) in among


def view_name(name: str, use: str) -> str:
    """What a dataset of pairs is called for another use ("kto", "sft", "ppo"), see `ingest.views`."""
    return f"{name}_{use}"


def viewed_name(view: str, use: str) -> str:
    """The dataset whose view for that use would be called `view`; `view` itself if it is not such a name."""
    return view.removesuffix(f"_{use}")


def is_view_name(name: str, use: str, among: Container[str]) -> bool:
    """Whether `name` is what a view of one of the datasets `among` for that use is called."""
    return viewed_name(name, use) != name and viewed_name(name, use) in among
