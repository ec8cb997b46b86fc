"""Run a command in this process and give its exit code."""

from __future__ import annotations

from rlguide.cli import main


def run(*arguments: str) -> int:
    """What the shell would see."""
    try:
        return main(list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)
