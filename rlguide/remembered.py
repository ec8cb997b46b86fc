"""What models have given before: kept in the user's cache, value by value, so that nothing is lost on Ctrl-C."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from rlguide.console import say
from rlguide.errors import EngineError
from rlguide.workspace import user_cache

Make = Callable[[list[int]], Iterable[tuple[int, Any]]]


def remembered(kind: str, what: Mapping[str, Any], items: Sequence[Any], make: Make) -> list[Any]:
    """The value of each item: the one that `make` gave for it under the same `what`, else the one that it gives now.

    They lie in a file of JSON lines for each `what`; a damaged line is made again.

    Args:
        kind: the folder in the cache.
        what: all that decides a value but the item, in JSON's terms.
        make: takes the places of the items that have no value yet, and gives (place, value) as they come.

    Raises:
        EngineError: `make` did not give all of them.
    """
    found = some_remembered(kind, what, items, make)
    if len(found) < len(items):
        raise EngineError("the engine gave only some of the responses", "run `rlguide doctor`, then try again")
    return [found[place] for place in range(len(items))]


def some_remembered(kind: str, what: Mapping[str, Any], items: Sequence[Any], make: Make) -> dict[int, Any]:
    """Like `remembered`, by the places of the items, without those for which `make` gives nothing this time."""
    with Memory(kind, what) as memory:
        keys = [memory.key(item) for item in items]
        missing = list({key: place for place, key in enumerate(keys) if key not in memory}.values())
        for place, value in make(missing) if missing else ():
            memory.add(keys[place], value)
        return {place: memory[key] for place, key in enumerate(keys) if key in memory}


class Memory:
    """The values that were given under one `what`, by the keys of their items; for items too many to hold at once.

    A context manager: what is added within it is kept at once, as `remembered` keeps it.
    """

    def __init__(self, kind: str, what: Mapping[str, Any]) -> None:
        self._path = user_cache() / kind / f"{digest(what)}.jsonl"
        self._kept = _read(self._path)
        self._file: TextIO | None = None
        self._is_open = False

    def __enter__(self) -> Memory:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @staticmethod
    def key(item: Any) -> str:
        """What stands for an item, which may be any value of JSON."""
        return digest(item)

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def __getitem__(self, key: str) -> Any:
        return self._kept[key]

    def forget(self) -> None:
        """Drop all values, for what they were given under has changed unseen."""
        self._kept.clear()
        self.__exit__()
        self._is_open = False
        self._path.unlink(missing_ok=True)

    def add(self, key: str, value: Any) -> None:
        """Keep a value; where the cache cannot be written it is known for this time only, which is said."""
        self._kept[key] = value
        if not self._is_open:
            self._file, self._is_open = _opened(self._path), True
        self._file = _written(self._file, key, value)


def digest(value: Any) -> str:
    """A checksum of a value in JSON's terms, 32 hex digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, Any]:
    """The values by the digests of their items, without lines that are damaged."""
    found: dict[str, Any] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return found
    for line in lines:
        try:
            key, checksum, value = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if isinstance(key, str) and digest(value) == checksum:
            found[key] = value
    return found


def _opened(path: Path) -> TextIO | None:
    """The file to add to, on a line of its own; None where it cannot be written, which is said."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a", encoding="utf-8")
        file.write("\n")  # the last line of an evaluation that was killed has no end
    except OSError as error:
        _not_kept(error)
        return None
    return file


def _written(file: TextIO | None, key: str, value: Any) -> TextIO | None:
    if file is None:
        return None
    try:
        file.write(json.dumps([key, digest(value), value]) + "\n")
        file.flush()
    except OSError as error:
        _not_kept(error)
        return None
    return file


def _not_kept(error: OSError) -> None:
    say(f"note: responses are not kept for the next time: {error}")
