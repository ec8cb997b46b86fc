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
# What torch puts in front of each line of a traceback where several processes train.
_RANK = re.compile(r"^\[rank(\d+)\]:(?: |$)")
# An exception of Python, "module.Name: message", as a traceback ends.
_TRACEBACK = re.compile(r"^Traceback \(most recent call last\):")
_EXCEPTION = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$")
# What C++ prints before it aborts: torch's own log, an exception that nothing caught, an assertion of a GPU's kernel.
_NATIVE = re.compile(
    r"^(?:\[rank\d+\]:)?\[[EF]\d{3}|^terminate called|^\s+what\(\):|^Fatal Python error"
    r"|^(?:\[rank\d+\]: ?)?\S+\.cu:\d+: .*: block: \[|^unknown:0: unknown: block: \["
)
# What the system's loader prints of a program that it cannot start.
_LOADER = re.compile(r"^\S+: (?:symbol lookup error|error while loading shared libraries): ")
# An example of the data, as the engine prints it (data/loader.py and data/processor of LLaMA-Factory 0.9.5), and what
# it prints of itself afterwards.
_EXAMPLE = re.compile(r"^(?:training|eval) example:$")
_OF_THE_ENGINE = re.compile(
    r"^(?:\[rank\d+\]: ?)?(?:\[(?:INFO|WARNING|ERROR)\||\*{5} |.*\|[ #█▏▎▍▌▋▊▉]*\| *\d+/\d+ \[)"
)
_EXIT_CODE = re.compile(r"^\s*exitcode\s*:\s*(-?\d+)\b", re.MULTILINE)
_CAUSED = re.compile(r"^(?:The above exception was the direct cause|During handling of the above exception)")
# What launchers raise about a process that failed for a reason of its own.
_LAUNCHER = re.compile(
    r"(?:[\w.]*\.)?(?:(?:ChildFailedError|SignalException|SystemExit)\b|CalledProcessError: .*torchrun)"
)
# What torchrun raises when it is asked to stop.
_SIGNAL = re.compile(r"(?:.*\.)?SignalException: Process \d+ got signal: (\d+)")
# How torchrun ends the other processes when one has failed, and the exit codes that stand for it.
_STOPPED = (-9, -15, 137, 143)
# What the other processes see when one of them is gone; never what the launcher says of the one that is.
_FOLLOWS = re.compile(
    r"^(?!NodeLost: ).*(?:Connection (?:closed|reset) by peer|failed to recv|Broken pipe|recvValue failed)", re.DOTALL
)


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
    log = "\n".join(_without_examples(log))
    if not raised and returncode >= 0:  # what a signal ends prints no exception: one in the log is older, or a prompt
        chains = _raised_in(log)
        codes = [int(code) for code in _EXIT_CODE.findall(log)]
    codes += [-int(match[1]) for chain in chains for link in chain if (match := _SIGNAL.fullmatch(": ".join(link)))]
    chains = [tuple(link for link in chain if not _LAUNCHER.match(": ".join(link))) for chain in chains]
    chains = [chain for chain in chains if chain]
    chains.sort(key=lambda chain: bool(_FOLLOWS.search(": ".join(chain[0]))))  # the first that is not a consequence
    native = "\n".join(line for line in log.splitlines()[-200:] if _NATIVE.match(line))
    if chains and (known := _known_of(chains[0], native)) is not None:
        return known
    if not chains and native and (known := _known("", native)) is not None:
        return known
    codes = [*sorted(codes, key=lambda code: code == -15), returncode]
    if raised and chains and not _FOLLOWS.search(": ".join(chains[0][0])):
        codes = [code for code in codes if code not in _STOPPED]
    for code in codes:
        for entry in _entries():
            if code in entry.get("codes", ()):
                return _failure(entry, ("", ""))
    unloaded = "\n".join(line for line in log.splitlines()[-5:] if _LOADER.match(line))
    if not chains and not raised and unloaded and (known := _known("", unloaded)) is not None:
        return known
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


def _known_of(chain: Chain, native: str = "") -> Failure | None:
    """The cause of the first exception of a chain that is known; one that stands behind it may say more (`deeper`).

    `native`: what C++ and kernels printed, which may say more than an exception that is `vague`.
    """
    found = [(entry, link) for link in chain if (entry := _entry(*link)) is not None]
    exact = [pair for pair in found if not pair[0].get("deeper")]
    if found and found[0][0].get("deeper") and exact:
        found = exact
    if found and found[0][0].get("vague") and native:
        closer = _entry("", native)
        if closer is not None and not closer.get("vague"):
            return _failure(closer, found[0][1])
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


def _without_examples(log: str) -> Iterator[str]:
    """The lines of a log but for the examples of the data in it, which may look like anything."""
    is_example = False
    for line in log.replace("\r", "\n").splitlines():
        is_example = bool(_EXAMPLE.match(line)) or (is_example and not _OF_THE_ENGINE.match(line))
        if not is_example:
            yield line


def _raised_in(log: str) -> list[Chain]:
    """The last exception of each process that a log holds, in the order of their ranks."""
    streams: dict[int, list[str]] = {}
    for line in log.splitlines():
        match = _RANK.match(line)
        rank = int(match[1][:9]) if match else -1
        streams.setdefault(rank, []).append(line[match.end() :] if match else line)
    plain = streams.pop(-1, [])
    found = [chain for rank in sorted(streams) for chain in list(_tracebacks(streams[rank]))[-1:]]
    return found or list(_tracebacks(plain))[-1:] or list(_bare(plain))[-1:]


def _bare(lines: list[str]) -> Iterator[Chain]:
    """An exception in the last lines whose traceback was cut off: it stands below code."""
    above = ""
    for line in lines[-20:]:
        match = _EXCEPTION.match(line)
        if above[:1].isspace() and match and re.search(r"(?:Error|Exception)$", match["type"]):
            yield ((match["type"], match["message"] or ""),)
        above = line or above


def _tracebacks(lines: list[str]) -> Iterator[Chain]:
    """The exceptions of each traceback of a process, those that caused it behind it; a message has all its lines."""
    chain: Chain = ()
    inside = is_caused = False
    for index, line in enumerate(lines):
        if _CAUSED.match(line):
            is_caused = True
        elif _TRACEBACK.match(line):
            if not is_caused and chain:
                yield chain
                chain = ()
            inside, is_caused = True, False
        elif inside and (match := _EXCEPTION.match(line)):
            inside = False
            more = []
            for following in lines[index + 1 : index + 40]:
                if _TRACEBACK.match(following) or not following.strip() or _CAUSED.match(following):
                    break
                more.append(following)
            chain = ((match["type"], "\n".join([match["message"] or "", *more])), *chain)
    if chain:
        yield chain
