"""The prompts of earlier chats, which the arrow keys bring back: for their owner alone, and never without bound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rlguide.errors import RlguideError
from rlguide.workspace import atomic_write, user_state

if TYPE_CHECKING:
    from prompt_toolkit.history import History

MOST = 1000  # prompts
LARGEST = 1 << 20  # bytes of the file at the beginning of a chat
LONGEST = 1 << 16  # characters of a prompt; a longer one was pasted, and will be pasted again


def history_file() -> Path:
    """Where they lie."""
    return user_state() / "chat_history"


def open_history() -> History:
    """The history for prompt_toolkit; of this chat alone where the file cannot be used."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class Bounded(FileHistory):
        """A file of prompts; a disk that is full costs an entry, not the chat."""

        def store_string(self, string: str) -> None:
            if len(string) > LONGEST:
                return
            try:
                super().store_string(string)
            except OSError:
                pass

    path = history_file()
    try:
        _prepare(path)
    except (OSError, RlguideError):
        return InMemoryHistory()
    return Bounded(str(path))


def _prepare(path: Path) -> None:
    """Make the file, readable by its owner alone, and cut what is too long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
    if not path.is_file():
        raise OSError(f"{path} is not a file")
    path.chmod(0o600)
    with path.open("r+b") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - LARGEST))
        # each prompt begins with a line of its time, `# ...`, and has `+` before each of its lines
        kept = file.read().split(b"\n# ")
    is_cut = size > LARGEST
    if is_cut or len(kept) > MOST + 1:
        with atomic_write(path, "wb", is_private=True) as new:
            new.write(b"".join(b"\n# " + entry for entry in kept[1:][-MOST // 2 :]))
