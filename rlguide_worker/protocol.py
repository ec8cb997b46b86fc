"""What a worker that holds a model says to the process that started it: JSON lines on its stdout.

From the import of this module on, only those lines reach the real stdout: what libraries print there goes to stderr,
the log.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import Any

_protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)


def send(event: str, **values: Any) -> None:
    """Write one line."""
    with contextlib.suppress(OSError):  # nobody reads any more, which ends a worker by its stdin
        _protocol.write(json.dumps({"event": event, **values}) + "\n")
        _protocol.flush()


def send_error(error: BaseException) -> None:
    """Write that something failed, and why, in one line; the traceback is for the log."""
    send("error", kind=type(error).__name__, text=str(error).strip().split("\n")[0][:500])


def leave(code: int) -> None:
    """End now. The interpreter's own shutdown can abort in background threads of the model (SIGABRT)."""
    sys.stderr.flush()
    os._exit(code)
