"""Which tasks of lm-evaluation-harness are asked for, and what in a folder of one's own decides their results."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide.engine.config_file import split_names
from rlguide.errors import UsageError

_WHOLE = 16 << 20  # bytes; a larger file counts by its size and time
_NAMES_FILES = ("include", "dataset_path", "dataset_kwargs")  # keys of lm-eval's YAML (docs/task_guide.md)


@dataclass(frozen=True)
class Tasks:
    """What is measured.

    Attributes:
        names: tasks, groups or tags of lm-eval.
        folder: where more tasks are, in lm-eval's YAML.
        limit: how many documents of each task; None for all.
        as_chat: prompts as conversations in the run's template, examples as turns of their own; else plain text.
        batch_size: requests at once; None for what the worker chooses.
    """

    names: tuple[str, ...]
    folder: Path | None = None
    limit: int | None = None
    as_chat: bool = True
    batch_size: int | None = None


def wanted_tasks(
    text: str | None, folder: Path | None, limit: int | None, as_chat: bool, settings: Mapping[str, Any]
) -> Tasks | None:
    """What the options ask for; None where no tasks are.

    Args:
        text: names, separated by commas.
        settings: of `--set`; per_device_eval_batch_size counts here, too.

    Raises:
        UsageError: no task is named, or the folder has none.
    """
    names = tuple(dict.fromkeys(split_names(text)))
    given = {"--task-folder": folder, "--limit": limit, "--no-chat-template": not as_chat or None}
    alone = next((option for option, value in given.items() if value is not None), None)
    if not names and (text is not None or alone):
        what = (
            "--tasks names no task"
            if text is not None
            else f"{alone} says how --tasks are measured, and there are none"
        )
        raise UsageError(what, "name some: --tasks ifeval,gsm8k")
    if not names:
        return None
    if folder is not None:
        checked_folder(folder)
    size = settings.get("per_device_eval_batch_size")
    if size is not None and (not isinstance(size, int) or size < 1):
        raise UsageError(f"per_device_eval_batch_size is no count of examples: {size}", "give a whole number from 1")
    return Tasks(names, folder, limit, as_chat, size)


def checked_folder(folder: Path) -> None:
    """Raise UsageError if there is no folder, or no task in it."""
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise UsageError(f"--task-folder {folder} {what}", "name the folder that holds the YAML files of the tasks")
    if next(folder.rglob("*.yaml"), None) is None:
        raise UsageError(f"--task-folder {folder} holds no .yaml file", "name the folder that holds those of the tasks")


def digest_of_folder(folder: Path, cwd: Path) -> str:
    """A checksum of the files of a folder and of those that its tasks name as data or include, wherever they are.

    Args:
        cwd: where lm-eval runs: paths of data are relative to it.
    """
    files: set[Path] = set()
    waiting = {path.resolve() for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    while waiting:
        path = waiting.pop()
        files.add(path)
        if path.suffix in (".yaml", "") and path.stat().st_size <= _WHOLE:  # templates often have no ending
            waiting.update(set(_named(path, cwd.resolve())) - files)
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path}\0".encode("utf-8", "surrogateescape"))
        digest.update(_content(path))
    return digest.hexdigest()


def _named(path: Path, cwd: Path) -> Iterator[Path]:
    """The files that a task names, those in the folders that it names, and the functions beside it."""
    import yaml

    text = re.sub(r"!function\s+", "", path.read_text(encoding="utf-8", errors="replace"))
    try:
        task = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError):  # lm-eval does not read it either
        return
    if not isinstance(task, dict):
        return
    yield from (inner.resolve() for inner in path.parent.glob("*.py"))
    for word in _texts([task.get(key) for key in _NAMES_FILES]):
        fixed = re.split(r"[*?\[]", word)[0]
        name = fixed if fixed == word else fixed.rpartition("/")[0]
        for place in (path.parent / name, cwd / name):
            try:
                if place.is_file():
                    yield place.resolve()
                elif name and place.is_dir() and not cwd.is_relative_to(place.resolve()):
                    yield from (inner.resolve() for inner in place.rglob("*") if inner.is_file())
            except (OSError, ValueError):  # no name of a file
                continue


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _content(path: Path) -> bytes:
    try:
        found = path.stat()
        if found.st_size > _WHOLE:
            return f"{found.st_size} {found.st_mtime_ns}".encode()
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:  # gone in the meantime, or not to be read
        return b""
