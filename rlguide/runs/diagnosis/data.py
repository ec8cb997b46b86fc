"""Rules on the data that a run trains on, as its tokens show it."""

from __future__ import annotations

from collections.abc import Mapping

from rlguide.runs.diagnosis.logs import Logs, number
from rlguide.runs.diagnosis.seen import Seen


def cut(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """Responses that lost their end."""
    share = number(logs.facts.data.get("cut"))
    if share <= at["share"]:
        return None
    cutoff = round(number(logs.config.get("cutoff_len"), 2048.0))
    return Seen(None, {"cut": share, "rows": _rows(logs), "cutoff": cutoff})


def alike(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """Pairs whose responses hardly differ."""
    distance = number(logs.facts.data.get("distance"), 1.0)
    if distance > at["distance"]:
        return None
    # A reward model and methods without pref_ftx have nothing to add.
    reads = logs.method is not None and "pref_ftx" in logs.method.keys
    return Seen(None, {"distance": distance, "rows": _rows(logs)}, None if reads else {})


def rm_length(logs: Logs, at: Mapping[str, float]) -> Seen | None:
    """A reward model that is right where the chosen response is the longer one, or could be by length alone."""
    if logs.method is None or logs.method.stage != "rm":
        return None
    longer, shorter = (logs.facts.by_length.get(name) for name in ("longer", "shorter"))
    if longer is not None and shorter is not None:
        if longer[1] <= shorter[2]:
            return None
        said = (
            f"it is right in {longer[0]:.0%} of the held-out pairs whose chosen response is longer, in "
            f"{shorter[0]:.0%} of those where it is shorter"
        )
        return Seen(None, {"seen": said})
    share = number(logs.facts.data.get("longer"), 0.5)
    if share < at["share"]:
        return None
    return Seen(None, {"seen": f"chosen is the longer response in {share:.0%} of {_rows(logs)} training pairs"})


def _rows(logs: Logs) -> int:
    return round(number(logs.facts.data.get("sampled")))
