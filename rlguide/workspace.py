"""The folder that holds `data/`, `configs/` and `saves/`, and the safe ways of writing into it."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rlguide.errors import DataError, RlguideError, UsageError

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Workspace:
    """A user's project folder. Everything rlguide writes is below `root` (or in the user's cache).

    `data_folder`: where the datasets lie, if a config says another place (`dataset_dir`) than `data`.
    """

    root: Path
    data_folder: Path | None = None

    @property
    def data(self) -> Path:
        return self.data_folder or self.root / "data"

    @property
    def dataset_info(self) -> Path:
        """LLaMA-Factory's registry of datasets."""
        return self.data / "dataset_info.json"

    @property
    def configs(self) -> Path:
        return self.root / "configs"

    @property
    def saves(self) -> Path:
        return self.root / "saves"

    def relative(self, path: Path) -> str:
        """`path` as a user types it from the workspace: relative if it is below the root, else absolute.

        A link inside the workspace counts as inside, wherever it leads.
        """
        absolute = Path(os.path.normpath(path if path.is_absolute() else self.root / path))
        for candidate, root in ((absolute, self.root), (absolute.resolve(), self.root.resolve())):
            if candidate.is_relative_to(root):
                return candidate.relative_to(root).as_posix()
        return str(absolute)


@contextmanager
def atomic_write(path: Path, mode: str = "w", is_private: bool = False) -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; rename it over `path` when the block ends without an exception.

    A reader sees the old file or the whole new one, never a part; a full disk or a killed process leaves
    `path` as it was. `mode` is "w" (UTF-8 text) or "wb"; `is_private`: only its owner may read it.

    Raises:
        RlguideError: the folder cannot be written or the disk is full.
        UsageError: `path` is something that is not to be replaced by a file (`check_replaceable`).
    """
    check_replaceable(path)
    handle: IO[Any] | None = None
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        handle = os.fdopen(descriptor, mode, encoding=None if "b" in mode else "utf-8")
        yield handle
        handle.flush()
        os.fsync(handle.fileno())
        handle.close()
        if not is_private:
            Path(temporary).chmod(0o666 & ~_umask())  # mkstemp makes 0600; match what open() would have made
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise RlguideError(
            f"cannot write {path}: {error.strerror or error}",
            "free some disk space or choose a folder you may write to, then run the same command again",
        ) from error
    finally:
        if handle is not None and not handle.closed:
            try:
                handle.close()
            except OSError:
                pass
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def check_replaceable(path: Path) -> None:
    """Refuse to put a file where a folder, a device (/dev/null), a pipe or a socket is. Raises UsageError."""
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113  (they never raise)
        what = "a folder" if path.is_dir() else "a device, a pipe or a socket"
        raise UsageError(f"{path} is {what}, and a file cannot take its place", "name another file")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically. Raises RlguideError like `atomic_write`.

    Half a surrogate pair, which UTF-8 cannot hold and a file that somebody else wrote may, stays escaped.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2)
    with atomic_write(path) as file:
        file.write(_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def read_text(path: Path) -> str:
    """Read a UTF-8 file (a byte-order mark is dropped).

    Raises:
        DataError: it is missing, not a regular file (a pipe would be waited for), cannot be read, or is not UTF-8.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a folder" if path.is_dir() else "a pipe, a socket or a device"
            raise DataError(f"{path} is {kind}, not a file", "name a file, or put one in its place")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist", "check the path, or run `rlguide doctor`") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start})", "save the file as UTF-8") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise DataError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}", "check the path and its permissions"
        ) from error


def read_json(path: Path) -> Any:
    """Read a UTF-8 JSON file.

    Raises:
        DataError: as `read_text`, or it is not JSON; the message names the line.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of more digits than Python reads
        place = f"{error.msg} at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else str(error)
        raise DataError(f"{path} is not valid JSON: {place}", "fix or delete the file, then try again") from error


def user_cache() -> Path:
    """The folder for what can be made again (engine schemas): `$XDG_CACHE_HOME/rlguide` or `~/.cache/rlguide`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rlguide"


def log_folder() -> Path:
    """Where the logs of the engine's short jobs go: into the cache, or to temporary files where that cannot be used."""
    folder = user_cache() / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return folder if os.access(folder, os.W_OK) else Path(tempfile.gettempdir())
    except OSError:
        return Path(tempfile.gettempdir())


def user_data() -> Path:
    """The folder for what takes long to make again (engines): `$XDG_DATA_HOME/rlguide` or `~/.local/share/rlguide`."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "rlguide"


def user_state() -> Path:
    """The folder for what was learnt of this machine: `$XDG_STATE_HOME/rlguide` or `~/.local/state/rlguide`."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "rlguide"


def free_bytes(path: Path) -> int:
    """Free bytes on the disk that holds `path` (or its nearest existing parent)."""
    import shutil

    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
