"""Whether the nodes of a training agree with this host, and with each other, before anything is started."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from rlguide.console import printable
from rlguide.engine.find import WATCHED
from rlguide.engine.worker import worker_command
from rlguide.errors import RlguideError
from rlguide.launchers.launch import Launch, Needs
from rlguide.launchers.ssh.asking import Answer, ask_all
from rlguide.launchers.ssh.client import LOST, config_of, ssh_command, unreached, words_for
from rlguide.launchers.ssh.hosts import Host, parse_host
from rlguide.progress import Ticker

WAIT, DEFAULT_WAIT = "restart_wait", 600.0  # the setting of a launch, in seconds
_LIMIT = 600.0  # seconds for a node to read and compare everything: datasets of tens of GB on a network drive
_PAUSE = 2.0  # seconds before nodes that are waited for are asked again
_MARK = b"FOUND "
# The variables that say what a host has: none is a secret.
_ASKED_WITH = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "CUDA_VISIBLE_DEVICES")


def check(launch: Launch, needs: Needs) -> None:
    """Refuse nodes that cannot be reached, or have something else than this host. All are asked at once.

    Raises:
        RlguideError: naming the node and what differs.
    """
    hosts = [parse_host(text) for text in launch.hosts]
    with _probe(needs) as probe:
        script = _script(needs, probe)
        here, answers = _ask_all(hosts, config_of(launch), needs, script)
    found: dict[Host, dict[str, Any]] = {}
    for host, answer in answers.items():
        if (there := _found(answer)) is None:
            raise _no_answer(host, config_of(launch), answer, needs)
        _compare(host, there, here, needs, probe)
        found[host] = there
    _check_addresses({host: _texts(found[host], "reached") for host in hosts})
    gpus = {host: _texts(found[host], "gpus") for host in hosts}
    if needs.on_cpu:
        _check_no_gpus(gpus, here)
    else:
        _check_gpus(gpus, launch.nproc or 1)


@contextmanager
def _probe(needs: Needs) -> Iterator[Path]:
    """The config and a random word in a file of the run's folder, which each node must see."""
    path = needs.folder / f".launch-{uuid4().hex}"
    try:
        path.write_text(f"{uuid4().hex}\n{needs.config}", encoding="utf-8")
        yield path
    finally:
        path.unlink(missing_ok=True)


def _script(needs: Needs, probe: Path) -> bytes:
    script = Path(worker_command(needs.engine, "check_node")[1])
    asked = {
        "variables": {name: os.environ[name] for name in _ASKED_WITH if name in os.environ},
        "names": WATCHED,
        "worker": str(script.parent),
        "probe": str(probe),
        "data": [str(path) for path in needs.data],
        "models": [str(path) for path in needs.models],
        "hub": list(needs.hub),
        "revision": needs.revision,
    }
    # `main` is called with a literal; what stands at the script's end is for its own command line.
    text = script.read_text(encoding="utf-8").partition('\nif __name__ == "__main__":')[0]
    return f"{text}\nmain(json.loads({json.dumps(asked)!r}))\n".encode()


def _ask_all(
    hosts: Sequence[Host], config: str, needs: Needs, script: bytes
) -> tuple[dict[str, Any], dict[Host, Answer]]:
    """What this host found, and the answers of all nodes."""
    python = [str(needs.engine.python), "-I", "-"]
    commands = [python, *(ssh_command(host, config, python) for host in hosts)]
    with Ticker("checking the nodes over ssh", "nodes", len(hosts)) as ticker:
        own, *answers = ask_all(commands, script, _LIMIT, lambda is_done: ticker.update(sum(is_done[1:])))
    if (here := _found(own)) is None:
        raise RlguideError(f"{needs.engine.python} does not run here: {own.said}", "run `rlguide doctor`")
    return here, dict(zip(hosts, answers, strict=True))


def _found(answer: Answer) -> dict[str, Any] | None:
    """What a host found; None if its answer does not say it."""
    lines = [line for line in answer.out.splitlines() if line.startswith(_MARK)]
    with suppress(ValueError, RecursionError):
        found = json.loads(lines[-1].removeprefix(_MARK)) if lines else None
        if isinstance(found, dict):
            return found
    return None


def _compare(host: Host, there: Mapping[str, Any], here: Mapping[str, Any], needs: Needs, probe: Path) -> None:
    """Raises RlguideError for the first thing that is other on this node than here."""
    differs = partial(_differs, host)
    engine = shlex.quote(str(needs.engine.python.parent.parent))
    versions = {"python": there.get("python"), **_part(there, "versions")}
    for name, version in {"python": here["python"], **here["versions"]}.items():
        if versions.get(name, "") != version:
            raise differs(
                f"{_which(name, versions.get(name))}, and here is {_which(name, version)}",
                f"install the same versions in {engine} there, or put that folder on a shared file system",
            )
    if there.get("worker") != here["worker"]:
        folder = worker_command(needs.engine, "check_node")[1].rpartition("/")[0]
        raise differs(f"other files in {folder}", "install the same version of rlguide there, at the same path")
    if there.get("probe") != here["probe"]:
        raise differs(
            f"another folder at {probe.parent}: what is written here is not seen there",
            "keep the workspace on a file system that all nodes mount at the same path (NFS, Lustre)",
        )
    for kind, fix in _FIXES.items():
        for name, digest in here[kind].items():
            theirs = _part(there, kind).get(name, "")
            if theirs != digest and kind == "hub":
                raise differs(f"{_which(name, theirs)}, and here is {_which(name, digest)}", fix)
            if theirs != digest:
                raise differs(f"{'another' if theirs else 'no'} {name}", fix)


_FIXES = {
    "data": "copy the file there, or register the dataset again in the workspace that all nodes share",
    "models": "copy the folder there, or keep it on a file system that all nodes mount at the same path",
    "hub": "let all nodes share HF_HOME, or run `hf download` for it on each with the same --revision",
}


def _differs(host: Host, what: str, fix: str) -> RlguideError:
    return RlguideError(f"{host} has {what}", fix)


def _part(found: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A part of what a node says, which may be anything."""
    part = found.get(kind)
    return part if isinstance(part, dict) else {}


def _which(name: str, version: Any) -> str:
    return f"{name} {printable(str(version))[:80]}" if version else f"no {name}"


def _no_answer(host: Host, config: str, answer: Answer, needs: Needs) -> RlguideError:
    """What to do about a node that did not say what it has."""
    if answer.code == LOST:
        return unreached(host, config, answer.said)
    at = words_for(host, config)
    python = needs.engine.python
    try_it = shlex.join(["ssh", *shlex.split(at), shlex.join([str(python), "-V"])])
    return RlguideError(
        f"{host} has no engine that runs at {python}: {answer.said}",
        f"install it at the same path there, or on a shared file system; see what this says: {try_it}",
    )


def _check_no_gpus(gpus: Mapping[Host, list[str]], here: Mapping[str, Any]) -> None:
    """Refuse to leave the nodes' GPUs unused because there is none here: the config is made for this host."""
    host = next((host for host, names in gpus.items() if names), None)
    if host is not None and not here["gpus"]:
        raise RlguideError(
            f"{host} has {len(gpus[host])} GPUs, and this host none, so that the config says use_cpu",
            "type the command on one of the nodes; to train on CPUs all the same: export CUDA_VISIBLE_DEVICES=''",
        )


def _check_gpus(gpus: Mapping[Host, list[str]], wanted: int) -> None:
    """Refuse nodes with too few GPUs for `wanted` processes, or with others than the first."""
    first = next(iter(gpus))
    for host, names in gpus.items():
        if len(names) < wanted:
            raise RlguideError(
                f"{host} has {len(names)} GPUs, and {wanted} processes are to train on each node",
                "give a smaller --nproc, or leave that node out",
            )
        if set(names) != set(gpus[first]):
            raise RlguideError(
                f"{host} has {', '.join(sorted(set(names)))}, and {first} {', '.join(sorted(set(gpus[first])))}",
                "train on nodes of one kind: the slowest GPU sets the pace, and the smallest the memory",
            )


def _check_addresses(reached: Mapping[Host, list[str]]) -> None:
    """Refuse names of one host, and a first node that the others cannot reach where ssh did (address and port)."""
    first = next(iter(reached))
    seen: dict[tuple[str, ...], Host] = {}
    for host, where in reached.items():
        if where and (same := seen.setdefault(tuple(where), host)) is not host:
            raise RlguideError(f"{same} and {host} are one host, {where[0]}", "name each node once")
        if _is_loopback(reached[first]) and not _is_loopback(where):
            raise RlguideError(
                f"{first} is reached at {reached[first][0]}, where {host} cannot reach it",
                "name it by the address that the other nodes know",
            )


def _is_loopback(where: Sequence[str]) -> bool:
    return bool(where) and (where[0].startswith("127.") or where[0] == "::1")


def _texts(found: Mapping[str, Any], kind: str) -> list[str]:
    names = found.get(kind)
    return [printable(str(name))[:80] for name in names] if isinstance(names, list) else []


def wait_until_back(launch: Launch, needs: Needs, tell: Callable[[str], None]) -> None:
    """Wait until all nodes answer and agree again; `tell` is given what is waited for.

    Raises:
        RlguideError: of the node that still does not, after as many seconds as the launch says.
    """
    seconds = launch.settings.get(WAIT)
    seconds = float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < 1e7 else DEFAULT_WAIT
    deadline, before = time.monotonic() + seconds, ""
    while True:
        try:
            return check(launch, needs)
        except RlguideError as error:
            if time.monotonic() > deadline:
                raise
            if error.what != before:
                tell(f"waiting for up to {max(1, round((deadline - time.monotonic()) / 60))} min: {error.what}")
                before = error.what
        time.sleep(_PAUSE)
