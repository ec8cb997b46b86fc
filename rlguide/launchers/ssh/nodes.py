"""Run a training on several nodes over ssh until all have ended: the one process that rlguide starts for them.

usage: python -m rlguide.launchers.ssh.nodes --host HOST [--host HOST ...] --folder RUN [...] -- COMMAND

Each node runs `rlguide_worker/run_node.py`, which says its address; the first node's is where torchrun's rendezvous
listens. When one node fails or is lost, the others are stopped, and the exit code is that of the first. SIGINT and
SIGTERM are passed on. What nodes need of this environment goes through ssh's stdin: it may hold keys.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from os import environ
from pathlib import Path
from types import FrameType
from typing import Any

from rlguide.launchers.launch import LOGS
from rlguide.launchers.ssh.client import LOST
from rlguide.launchers.ssh.hosts import parse_host
from rlguide.launchers.ssh.node import Node, Output
from rlguide.launchers.variables import passed_variables

_HELLO = 30.0  # seconds for a node to say its address
_ALIVE = 5.0  # seconds between signs of life; the other side waits for `SILENCE` (rlguide_worker/run_node.py)
_GRACE = 15.0  # seconds after each harder way to stop them
_POLL = 0.1


@dataclass(frozen=True)
class Job:
    """What is started on each node: `command` in `cwd`, for the run in `folder`; its events go to `events`."""

    command: tuple[str, ...]
    cwd: str
    folder: Path
    config: Path
    events: Path
    variables: tuple[str, ...] = ()


def main(argv: Sequence[str] | None = None) -> int:
    """Run all nodes; returns the exit code of the first that failed, 0 if none did."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", action="append", required=True)
    parser.add_argument("--variable", action="append", default=[])
    for name in ("--ssh-config", "--cwd", "--folder", "--config", "--events"):
        parser.add_argument(name, default="")
    parser.add_argument("--own-end", type=float, required=True)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(argv)
    folder, config, events = (Path(path) for path in (given.folder, given.config, given.events))
    job = Job(tuple(given.command), given.cwd, folder, config, events, tuple(given.variable))
    output = Output()
    worker = Path(__file__).resolve().parents[3] / "rlguide_worker" / "run_node.py"
    logs = job.folder / LOGS
    logs.mkdir(parents=True, exist_ok=True)
    supervisor = [job.command[0], str(worker)]
    nodes = [Node(parse_host(text), given.ssh_config, supervisor, logs, output) for text in given.host]
    return Nodes(nodes, job, output, given.own_end).run()


class Nodes:
    """The nodes of one training, from their start to their end.

    `own_end`: seconds for the other nodes to end by themselves when one has failed, with their own messages.
    """

    def __init__(self, nodes: list[Node], job: Job, output: Output, own_end: float) -> None:
        self._nodes, self._job, self._output, self._own_end = nodes, job, output, own_end
        self._signals: list[int] = []
        self._heard = 0.0

    def run(self) -> int:
        """Start all, follow them, and stop what is left when one fails. Returns the first failing node's code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)
        try:
            if self._all_there():
                self._order()
            failed = self._follow()
            if failed is not None:
                self._tell(failed)
                self._stop()
        finally:
            for node in self._nodes:
                node.close()
        if failed is None:
            return 0
        self._output.say(f"{failed.host} ended first, with exit code {failed.code}; what it printed last:")
        self._output.write("".join(failed.last))
        return failed.code or 1

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def _all_there(self) -> bool:
        """Whether all nodes have said their address in time, and nobody has asked to stop."""
        deadline = time.monotonic() + _HELLO
        while time.monotonic() < deadline:
            if self._signals or any(node.poll() is not None for node in self._nodes):
                return False
            if all(node.hello is not None for node in self._nodes):
                return True
            time.sleep(_POLL)
        late = [node for node in self._nodes if node.hello is None]
        for node in late:
            self._output.say(f"{node.host} did not start within {_HELLO:g} s")
            node.kill()
        return not late

    def _order(self) -> None:
        """Tell each node what to run. The first is the one where they meet."""
        where: dict[str, Any] = self._nodes[0].hello or {}
        variables = passed_variables(environ, self._job.variables)
        variables |= {"MASTER_ADDR": str(where["address"]), "MASTER_PORT": str(where["port"])}
        variables |= {"RDZV_ID": uuid.uuid4().hex, "MAX_RESTARTS": "0", "PYTHONUTF8": "1"}
        digest = hashlib.sha256(self._job.config.read_bytes()).hexdigest()
        for node in self._nodes:
            node.tell(
                arguments=self._job.command,
                folder=self._job.cwd,
                variables=variables,
                config=[str(self._job.config), digest],
                lock=str(node.log.with_suffix(".lock")),
            )

    def _follow(self) -> Node | None:
        """Until all have ended well, or one has not: that node."""
        while True:
            codes = [node.poll() for node in self._nodes]
            if (
                failed := next((node for node, code in zip(self._nodes, codes, strict=True) if code), None)
            ) is not None:
                return failed
            if all(code == 0 for code in codes):
                return None
            self._pass_on()
            time.sleep(_POLL)

    def _pass_on(self) -> None:
        """Signals that came, and a sign of life now and then."""
        while self._signals:
            number = self._signals.pop(0)
            for node in self._nodes:
                node.tell(signal=number)
                if node.hello is None:  # nothing runs there yet
                    node.close()
        if time.monotonic() - self._heard > _ALIVE:
            self._heard = time.monotonic()
            for node in self._nodes:
                node.tell()

    def _stop(self) -> None:
        """Stop all that still run, ever harder: their own end, SIGTERM, the end of their supervisor, that of ssh."""
        ways = ((self._own_end, None), (_GRACE, self._terminate), (_GRACE, Node.close), (_GRACE, Node.kill))
        for seconds, harder in ways:
            for node in self._nodes:
                if harder is not None and node.poll() is None:
                    harder(node)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and any(node.poll() is None for node in self._nodes):
                self._pass_on()
                time.sleep(_POLL)

    def _terminate(self, node: Node) -> None:
        node.tell(signal=int(signal.SIGTERM))

    def _tell(self, failed: Node) -> None:
        """Say in the events of the run that a node is gone: of the others only consequences are known."""
        if failed.code != LOST and failed.hello is not None:
            return
        link = {"type": "NodeLost", "message": f"{failed.host}: {failed.said or 'its connection ended'}"}
        line = json.dumps({"event": "error", "time": round(time.time(), 3), "chain": [link]}, ensure_ascii=False)
        with self._job.events.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
