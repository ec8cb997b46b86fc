"""What can go wrong, said in two lines: what is wrong, and what to do about it."""

from __future__ import annotations


class RlguideError(Exception):
    """A failure that its reader can do something about; `cli.main` turns it into two lines and an exit code.

    Args:
        what: one sentence, what is wrong, naming the file, key or value.
        todo: one sentence, what to type or change.
    """

    exit_code = 1

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


class UsageError(RlguideError):
    """What was asked for cannot be meant: an unknown name, key or value; nothing was started (exit code 2)."""

    exit_code = 2


class DataError(RlguideError):
    """A data file or dataset is not what it should be."""


class HubError(RlguideError):
    """The hub could not be reached or did not give what was asked for."""


class CheckpointError(RlguideError):
    """A checkpoint or base model is missing, truncated, or does not fit."""


class EngineError(RlguideError):
    """LLaMA-Factory is missing, does not start, or failed."""


def did_you_mean(word: str, known: list[str]) -> str:
    """Return ' (did you mean X?)' for the nearest known word, or '' if none is near."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""


def pip_install(requirement: str) -> str:
    """The command that installs a distribution into the environment rlguide runs in (uv's have no pip)."""
    import shlex
    import sys
    from importlib.util import find_spec

    python = shlex.quote(sys.executable)
    pip = f"{python} -m pip install" if find_spec("pip") else f"uv pip install --python {python}"
    return f"{pip} {shlex.quote(requirement)}"
