"""What is served on this host: a file for each server, which counts only as long as its process lives."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rlguide.engine.process import birth_of, stop_group
from rlguide.errors import DataError, UsageError
from rlguide.workspace import read_json, user_state, write_json


@dataclass(frozen=True)
class ServerRecord:
    """A server that is ready.

    Attributes:
        pid, birth: its process, which is the leader of its group, for good (`engine.process.birth_of`).
        model: as clients say it; `title`: what it is.
        address: up to `/v1`.
        needs_key: whether clients must send a key, which is not kept.
    """

    pid: int
    birth: str
    address: str
    model: str
    title: str
    backend: str
    device: str
    needs_key: bool
    workspace: str
    log: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {key: value for key, value in asdict(self).items() if key != "birth"}

    @property
    def is_alive(self) -> bool:
        """Whether it is this process that runs now."""
        return birth_of(self.pid) == self.birth != ""

    @property
    def file(self) -> Path:
        """Where the record lies."""
        return _folder() / f"{self.pid}.json"


def check_place() -> None:
    """Raises RlguideError where no record can be written, which is better known before a model is loaded."""
    trial = _folder() / f"{os.getpid()}.trial"
    write_json(trial, {})
    with suppress(OSError):
        trial.unlink()


def keep(record: ServerRecord) -> None:
    """Write a record. Raises RlguideError where it cannot be written."""
    write_json(record.file, asdict(record))


def forget(record: ServerRecord) -> None:
    """Remove a record."""
    with suppress(OSError):
        record.file.unlink(missing_ok=True)


def running() -> tuple[list[ServerRecord], list[ServerRecord]]:
    """The servers that run, the oldest first, and those that ended without anybody having stopped them.

    The latter are forgotten, and what is no record, too.
    """
    alive: list[ServerRecord] = []
    ended: list[ServerRecord] = []
    for path in sorted(_folder().glob("*.json"), key=_modified):
        record = _read(path)
        if record is not None and record.file == path:
            (alive if record.is_alive else ended).append(record)
        if record is None or record.file != path or not record.is_alive:
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return alive, ended


def meant(alive: list[ServerRecord], name: str | None, port: int | None) -> ServerRecord:
    """The server to stop: the only one, or that of a model or a port.

    Raises:
        UsageError: there is none, or several.
    """
    wanted = "" if name is None else Path(name).as_posix()
    found = [item for item in alive if name is None or item.model in (name, wanted)]
    found = [item for item in found if port is None or item.address.endswith(f":{port}/v1")]
    if len(found) == 1:
        return found[0]
    if not alive:
        raise UsageError("rlguide serves nothing on this host", "start a server: `rlguide serve`")
    if not found:
        raise UsageError("rlguide does not serve that", "`rlguide serve --list` shows what it serves")
    ports = [item.address.removesuffix("/v1").rpartition(":")[2] for item in found]
    shown = ", ".join(f"{item.model} (port {number})" for item, number in zip(found, ports, strict=True))
    first = shlex.quote(ports[0])
    raise UsageError(f"several servers run: {shown}", f"say which: `rlguide serve --stop --port {first}`")


def stop(record: ServerRecord) -> None:
    """End a server and all its processes."""
    stop_group(record.pid)
    forget(record)


def _folder() -> Path:
    """Of this host: where hosts share the user's home, none knows whether a process of another one lives."""
    return user_state() / "servers" / (platform.node() or "unnamed")


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _read(path: Path) -> ServerRecord | None:
    """The record in a file; None if it holds none, which may come from anybody."""
    try:
        value = read_json(path)
    except DataError:
        return None
    if not isinstance(value, Mapping):
        return None
    kinds = {name: field.type for name, field in ServerRecord.__dataclass_fields__.items()}
    types = {"int": int, "str": str, "bool": bool}
    if any(type(value.get(name)) is not types[str(kind)] for name, kind in kinds.items()):
        return None
    record = ServerRecord(**{name: value[name] for name in kinds})
    return record if record.pid > 1 else None
