"""Names of datasets: which are safe."""

from __future__ import annotations

import re

from rlguide.errors import UsageError

_PLAIN_NAME = re.compile(r"[^\W\d_][\w.-]*", re.UNICODE)
_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def safe_name(text: str) -> str:
    """The nearest name that LLaMA-Factory's comma-separated `dataset:` and a plain YAML value both take.

    Letters of any language, digits, `_`, `-` and `.`; it begins with a letter and is no YAML word such as `on`.
    """
    import unicodedata

    name = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", text)).strip("_.-")
    if not _PLAIN_NAME.fullmatch(name) or name.lower() in _YAML_WORDS:
        name = f"data_{name}"
    while len(name.encode()) > 120:  # leaves room for .manifest.json within the 255 bytes of a file name
        name = name[:-1]
    return name.rstrip("_.-")


def check_name(name: str) -> None:
    """Raises UsageError if `name` cannot be a dataset's name."""
    if name != safe_name(name):
        raise UsageError(
            f"{name!r} cannot be a dataset name: LLaMA-Factory splits names at commas, and YAML has words of its own",
            f"use letters, digits, _ and -, for example --name {safe_name(name)}",
        )
