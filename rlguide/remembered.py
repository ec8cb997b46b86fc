"""What models have answered before: kept in the user's cache, answer by answer, so that nothing is lost on Ctrl-C."""

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
        raise EngineError("the engine gave only some of the answers", "run `rlguide doctor`, then try again")
    return [found[place] for place in range(len(items))]


def some_remembered(kind: str, what: Mapping[str, Any], items: Sequence[Any], make: Make) -> dict[int, Any]:
    """Like `remembered`, by the places of the items, without those for which `make` gives nothing this time."""
    path = user_cache() / kind / f"{_digest(what)}.jsonl"
    kept = _read(path)
    keys = [_digest(item) for item in items]
    missing = list({key: place for place, key in enumerate(keys) if key not in kept}.values())
    if missing:
        file = _opened(path)
        try:
            for place, value in make(missing):
                kept[keys[place]] = value
                file = _written(file, keys[place], value)
        finally:
            if file is not None:
                file.close()
    return {place: kept[key] for place, key in enumerate(keys) if key in kept}


def _digest(value: Any) -> str:
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
        if isinstance(key, str) and _digest(value) == checksum:
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
        file.write(json.dumps([key, _digest(value), value]) + "\n")
        file.flush()
    except OSError as error:
        _not_kept(error)
        return None
    return file


def _not_kept(error: OSError) -> None:
    say(f"note: answers are not kept for the next time: {error}")
