"""Run the processes of one node for `rlguide launch`, until they end or whoever asked for them is gone.

usage: run_node.py, over ssh, with orders on stdin

It first prints `NODE {"address": ..., "port": ...}`: the address of this host that ssh was led to, and a free port.
Then it reads JSON lines: first what to start ({"arguments", "folder", "variables", "config": [path, sha256], "lock"}),
then {"signal": N}, which it passes on, and {} as a sign of life. What it started before under the same lock ends first.
When stdin ends, or nothing came for `SILENCE` seconds (the connection is lost, which this side of it may not notice for
hours), it ends what it started. What these processes print is its output, and their exit code its own: 128 + N for
signal N. It needs Python's standard library only.
"""

import fcntl
import hashlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SILENCE = 40.0  # seconds without a sign of life; one comes every 5
GRACE = ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))  # for processes whose rlguide is gone
FRESH = 30.0  # seconds for a file to be seen as it was written: NFS clients keep what they know for so long
LEFTOVERS = 60.0  # seconds for what an earlier attempt left here to end
CONFIG_DIFFERS, NOT_STARTED, STILL_RUNS = 96, 97, 98  # exit codes, with a line that says it


def main() -> None:
    """Do what is asked on stdin."""
    address = named_address()
    print("NODE " + json.dumps({"address": address, "port": free_port(address)}), flush=True)
    orders = Orders(sys.stdin.fileno())
    order = orders.next(SILENCE)
    if order is None or "arguments" not in order:  # stopped before it began
        sys.exit(NOT_STARTED)
    path, digest = order["config"]
    if not is_there(path, digest):
        print(f"{path} is not here what it is where rlguide runs", flush=True)
        sys.exit(CONFIG_DIFFERS)
    lock = locked(order["lock"])
    if lock is None:
        print("processes of an earlier attempt still run on this node", flush=True)
        sys.exit(STILL_RUNS)
    sys.exit(run(order, orders, address, lock))


def run(order: dict, orders: "Orders", address: str, lock: int) -> int:
    """Start what is ordered in a process group of its own, which holds the lock too; returns its exit code."""
    try:
        process = subprocess.Popen(
            order["arguments"],
            cwd=order["folder"],
            env=environment(order, address),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,  # what ssh itself says stays apart
            start_new_session=True,
            pass_fds=(lock,),
        )
    except OSError as error:
        print(f"cannot start {order['arguments'][0]}: {error.strerror or error}", flush=True)
        return NOT_STARTED
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, leave)
    try:
        follow(process, orders)
    finally:
        end(process)
    code = process.wait()
    return code if code >= 0 else 128 - code


def follow(process: subprocess.Popen, orders: "Orders") -> None:
    """Pass signals on until the process has ended, or nobody is there to follow it."""
    while process.poll() is None:
        order = orders.next(0.2, is_last=False)
        if order is None:
            return
        if isinstance(order.get("signal"), int):
            send(process.pid, order["signal"])


def end(process: subprocess.Popen) -> None:
    """End all of the process group that is left."""
    for number, seconds in GRACE:
        if not is_alive(process.pid):
            return
        send(process.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and is_alive(process.pid):
            process.poll()
            time.sleep(0.05)


def send(group: int, number: int) -> None:
    """Send a signal to all processes of a group."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


def is_alive(group: int) -> bool:
    """Whether a process of the group runs; a zombie does not."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            return True
    return False


def leave(number: int, frame: object) -> None:
    """The end of this process by a signal: what it started is ended first."""
    sys.exit(128 + number)


class Orders:
    """The JSON lines of a descriptor, and how long ago the last one came."""

    def __init__(self, descriptor: int) -> None:
        self._from, self._read, self._heard = descriptor, b"", time.monotonic()

    def next(self, seconds: float, is_last: bool = True) -> "dict | None":
        """The next order, {} if none comes in time and it is not the `is_last` chance; None if nobody gives any."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._read:
            left = deadline - time.monotonic()
            if left <= 0:
                return None if is_last or time.monotonic() - self._heard > SILENCE else {}
            if select.select([self._from], [], [], left)[0]:
                new = os.read(self._from, 1 << 16)
                if not new:
                    return None
                self._read, self._heard = self._read + new, time.monotonic()
        line, _, self._read = self._read.partition(b"\n")
        order = json.loads(line)
        return order if isinstance(order, dict) else {}


def environment(order: dict, address: str) -> dict:
    """This host's environment with what was ordered, and the engine's own scripts first."""
    found = {**os.environ, **order["variables"]}
    for name in ("PYTHONPATH", "PYTHONHOME"):  # of this host's shell, for another Python
        found.pop(name, None)
    found["PATH"] = str(Path(order["arguments"][0]).parent) + os.pathsep + os.environ.get("PATH", os.defpath)
    found["RLGUIDE_NODE_ADDRESS"] = address
    return found


def named_address() -> str:
    """The address of this host that ssh was led to; sshd says it (SSH_CONNECTION: client, its port, server, port)."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    return words[2] if len(words) == 4 else "127.0.0.1"


def free_port(address: str) -> int:
    """A port on which nothing listens there."""
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as found:
        found.bind((address, 0))
        return found.getsockname()[1]


def locked(path: str) -> "int | None":
    """The descriptor of a lock on this file; None if something holds it for too long."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    deadline = time.monotonic() + LEFTOVERS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.2)
        except OSError:  # a file system that has no locks
            return descriptor


def is_there(path: str, digest: str) -> bool:
    """Whether a file has this SHA-256, soon at least."""
    deadline = time.monotonic() + FRESH
    while True:
        try:
            if hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest:
                return True
        except OSError:
            pass
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)


if __name__ == "__main__":
    main()
