"""Why the engine failed, told from the exceptions of its last attempt (`failures.yaml`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from rlguide.console import printable
from rlguide.engine.events import Raised

Chain = tuple[tuple[str, str], ...]  # (type, message) of an exception and of those that caused it
_FILE = Path(__file__).with_name("failures.yaml")
_AGAIN = "run the same command again"
_LONGEST = 300  # characters of an exception's message that are shown
# An exception of Python, "module.Name: message", as a traceback ends; torchrun and loggers put a prefix in front.
_PREFIX = r"(?P<prefix>(?:\[rank\d+\]:\s?)?)"
_TRACEBACK = re.compile(rf"^{_PREFIX}Traceback \(most recent call last\):")
_EXCEPTION = re.compile(rf"^{_PREFIX}(?P<type>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$")
# What C++ prints before it aborts: torch's own log, or an exception that nothing caught.
_NATIVE = re.compile(r"^(?:\[rank\d+\]:)?\[[EF]\d{3}|^terminate called|^\s+what\(\):|^Fatal Python error")
_EXIT_CODE = re.compile(r"^\s*exitcode\s*:\s*(-?\d+)\b", re.MULTILINE)
_CAUSED = re.compile(r"^(?:The above exception was the direct cause|During handling of the above exception)")
# What launchers raise about a process that failed for a reason of its own.
_LAUNCHER = re.compile(r"(?:^|\.)(?:ChildFailedError|CalledProcessError|SignalException|SystemExit)$")
# What torchrun raises when it is asked to stop.
_SIGNAL = re.compile(r"(?:.*\.)?SignalException: Process \d+ got signal: (\d+)")
# How torchrun ends the other processes when one has failed.
_STOPPED = (-9, -15)
# What the other processes see when one of them is gone.
_FOLLOWS = re.compile(r"Connection (?:closed|reset) by peer|DistNetworkError|Broken pipe|recvValue failed")


@dataclass(frozen=True)
class Failure:
    """Why the engine failed: what happened, and what to type or change.

    Attributes:
        memory: which memory ran out, "gpu" or "main"; "" if none did.
        message: of the exception that says so, as it was raised.
    """

    what: str
    fix: str
    memory: str = ""
    message: str = ""


def explain_failure(log: str, returncode: int, raised: Sequence[Raised] = (), again: str = _AGAIN) -> Failure:
    """The cause of a failed run: that of its last exception, of those that caused it, or of the signal that ended it.

    Args:
        log: what the engine printed in this attempt (its tail is enough).
        returncode: negative for a signal.
        raised: what its worker told, if it is ours; then the log, which may hold text of the data, is not searched
            for exceptions.
        again: how the job is done again once its cause is gone, in the words of a `fix:`.
    """
    failure = _explained(log, returncode, raised)
    return replace(failure, fix=failure.fix.replace("{again}", again))


def known_cause(chain: Chain) -> Failure | None:
    """What is known of an exception and those that caused it, the last one first; None if nothing is."""
    failure = _known_of(chain)
    return None if failure is None else replace(failure, fix=failure.fix.replace("{again}", _AGAIN))


def _explained(log: str, returncode: int, raised: Sequence[Raised]) -> Failure:
    chains: list[Chain] = [item.chain for item in raised if item.chain]
    codes = [code for item in raised for code in item.exit_codes]
    if not raised and returncode != -9:  # what is killed prints no exception: one in the log is older, or a prompt
        chains = list(_tracebacks(log))[-1:] or list(_bare(log))[-1:]
        codes = [int(code) for code in _EXIT_CODE.findall(log)]
    codes += [-int(match[1]) for chain in chains for link in chain if (match := _SIGNAL.fullmatch(": ".join(link)))]
    chains = [tuple(link for link in chain if not _LAUNCHER.search(link[0])) for chain in chains]
    chains = [chain for chain in chains if chain]
    chains.sort(key=lambda chain: bool(_FOLLOWS.search(": ".join(chain[0]))))  # the first that is not a consequence
    if chains and (known := _known_of(chains[0])) is not None:
        return known
    native = "\n".join(line for line in log.splitlines()[-200:] if _NATIVE.match(line))
    if not chains and native and (known := _known("", native)) is not None:
        return known
    if raised and chains and not _FOLLOWS.search(": ".join(chains[0][0])):
        codes = [code for code in codes if code not in _STOPPED]
    codes.sort(key=lambda code: code == -15)
    for code in (*codes, returncode):
        for entry in _entries():
            if code in entry.get("codes", ()):
                return _failure(entry, ("", ""))
    if not chains and not raised and (known := _known("", "\n".join(log.splitlines()[-5:]))) is not None:
        return known  # what is not a traceback of Python stands in the last lines
    if chains:
        last, *before = (_shown(*link) for link in chains[0])
        cause = f", after {before[0]}" if before else ""  # the last may only say that something could not be loaded
        return Failure(f"LLaMA-Factory failed with {last}{cause}", "the log has the traceback")
    return Failure(f"LLaMA-Factory ended with exit code {returncode}", "the end of the log says more")


def _shown(kind: str, message: str) -> str:
    text = printable(" ".join(message.split()))[:_LONGEST]
    return f"{kind}: {text}" if text else kind


@cache
def _entries() -> list[dict[str, Any]]:
    import yaml

    found: list[dict[str, Any]] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return found


def _known_of(chain: Chain) -> Failure | None:
    """The cause of the first exception of a chain that is known; one that stands behind it may say more (`deeper`)."""
    found = [(entry, link) for link in chain if (entry := _entry(*link)) is not None]
    exact = [pair for pair in found if not pair[0].get("deeper")]
    if found and found[0][0].get("deeper") and exact:
        found = exact
    return _failure(*found[0]) if found else None


def _known(kind: str, message: str) -> Failure | None:
    return None if (entry := _entry(kind, message)) is None else _failure(entry, (kind, message))


def _failure(entry: dict[str, Any], link: tuple[str, str]) -> Failure:
    what = entry["what"].replace("{exception}", _shown(*link))
    return Failure(what, entry["fix"], entry.get("memory", ""), link[1])


def _entry(kind: str, message: str) -> dict[str, Any] | None:
    """The first entry that fits an exception."""
    for entry in _entries():
        is_type = "type" in entry and re.search(entry["type"], kind)
        if is_type or ("message" in entry and re.search(entry["message"], f"{kind}: {message}")):
            return entry
    return None


def _bare(log: str) -> Iterator[Chain]:
    """An exception that stands in the last lines without its traceback."""
    for line in log.splitlines()[-20:]:
        match = _EXCEPTION.match(line.strip())
        if match and re.search(r"(?:Error|Exception)$", match["type"]):
            yield ((match["type"], match["message"] or ""),)


def _tracebacks(log: str) -> Iterator[Chain]:
    """The exceptions of each traceback in a log, with those that caused it behind it; the message has all its lines."""
    chain: Chain = ()
    inside = is_caused = False
    lines = log.replace("\r", "\n").splitlines()
    for index, line in enumerate(lines):
        if _CAUSED.match(line):
            is_caused = True
        elif _TRACEBACK.match(line):
            if not is_caused and chain:
                yield chain
                chain = ()
            inside, is_caused = True, False
        elif inside and (match := _EXCEPTION.match(line)) and not line.startswith(" "):
            inside = False
            more = []
            for following in lines[index + 1 : index + 40]:
                rest = following.removeprefix(match["prefix"])
                is_other = rest == following if match["prefix"] else _TRACEBACK.match(following)
                if is_other or not rest.strip() or _CAUSED.match(rest):
                    break
                more.append(rest)
            chain = ((match["type"], "\n".join([match["message"] or "", *more])), *chain)
    if chain:
        yield chain
