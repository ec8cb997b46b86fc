"""What differs between the record of a run and that of one that would do it again now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rlguide.engine.config_file import format_value
from rlguide.policy.run_record import RunRecord

_SHOWN = 12  # characters of a checksum or commit
_NONE = "none"


def differences(then: RunRecord, now: RunRecord) -> list[str]:
    """A line for each thing that is not as it was, what matters most first; what is not on record is not compared.

    Args:
        then: the record of the run. now: that of the same run if it began now (`runs.record.new_record`).
    """
    before, after = then.surroundings or {}, now.surroundings or {}
    return [
        *_models(then, now, before, after),
        *_data(then, now, _mapping(before, "sources"), _mapping(after, "sources")),
        *_batches(then, now),
        *_versions(then, now, before, after),
        *_machine(before, after),
        *_variables(before, after),
        *_git(before, after),
    ]


def changes(config: Mapping[str, Any], now: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """A line for each setting that has another value than then."""
    return [
        f"{key}: {_value(config, key)} then, {_value(now, key)} now"
        for key in settings
        if config.get(key) != now.get(key)
    ]


def not_recorded(then: RunRecord) -> str:
    """What the record of an earlier version does not say, in words; "" if it says all."""
    missing = {
        "the host, GPUs and environment": then.surroundings,
        "versions of the engine": then.engine,
        "checksums of the data": then.checksums,
        "checksums of the models": then.parts,
    }
    return ", ".join(name for name, value in missing.items() if value is None)


def _models(then: RunRecord, now: RunRecord, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    parts, found = then.parts or {}, now.parts or {}
    for name in parts:
        if name in found and parts[name] != found[name]:
            yield f"the model {name} has other weights: {_short(parts[name])} then, {_short(found[name])} now"
    if then.base == now.base:
        yield from _two("commit of the base on the hub", before.get("base_commit"), after.get("base_commit"))


def _data(
    then: RunRecord, now: RunRecord, sources: Mapping[str, Any], found_sources: Mapping[str, Any]
) -> Iterator[str]:
    sums, found = then.checksums or {}, now.checksums or {}
    rows, rows_now = ({**(record.datasets or {}), **(record.held_out or {})} for record in (then, now))
    for name in found:
        if name not in sums:
            continue
        if sums[name] != found[name]:
            counts = f" ({rows.get(name)} rows then, {rows_now.get(name)} now)" * (rows.get(name) != rows_now.get(name))
            said = f"{_short(sums[name])} then, {_short(found[name])} now"
            yield f"the data of {name} is not the same{counts}: {said}"
        if (then.readings or {}).get(name, (now.readings or {}).get(name)) != (now.readings or {}).get(name):
            yield f"{name} is read in another way: dataset_info.json says so"
        commits = [_mapping(_mapping(side, name), "source").get("commit") for side in (sources, found_sources)]
        yield from _two(f"commit of {name} on the hub", *commits)


def _batches(then: RunRecord, now: RunRecord) -> Iterator[str]:
    yield from _two("processes", then.processes, now.processes)
    yield from _two("effective batch", then.effective_batch, now.effective_batch)
    yield from _two("steps", then.total_steps, now.total_steps)


def _versions(then: RunRecord, now: RunRecord, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    yield from _two("rlguide", then.rlguide, now.rlguide)
    yield from _two(
        "the engine's Python", _mapping(before, "torch").get("python"), _mapping(after, "torch").get("python")
    )
    if then.engine is not None and now.engine is not None:
        for name in sorted({*then.engine, *now.engine}):
            if then.engine.get(name) != now.engine.get(name):
                yield f"{name}: {then.engine.get(name, _NONE)} then, {now.engine.get(name, _NONE)} now"


def _machine(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if "gpus" in before and before["gpus"] != after.get("gpus"):
        yield f"GPUs: {_gpus(before['gpus'])} then, {_gpus(after.get('gpus'))} now"
    yield from _two("driver", before.get("driver"), after.get("driver"))
    yield from _two("host", before.get("host"), after.get("host"))
    yield from _two("system", before.get("system"), after.get("system"))


def _variables(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    if "variables" not in before:
        return
    old, new = _mapping(before, "variables"), _mapping(after, "variables")
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield f"{name}: {old.get(name, 'not set')} then, {new.get(name, 'not set')} now"


def _git(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    old, new = _mapping(before, "git"), _mapping(after, "git")
    if old and old != new:
        yield f"commit of the workspace: {_commit(old)} then, {_commit(new)} now"


def _two(what: str, then: Any, now: Any) -> Iterator[str]:
    """A line where both sides are known and differ."""
    if then not in (None, "") and now not in (None, "") and then != now:
        yield f"{what}: {_short(then)} then, {_short(now)} now"


def _mapping(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}


def _value(config: Mapping[str, Any], key: str) -> str:
    return format_value(config[key]) if key in config else "not set"


def _short(value: Any) -> str:
    text = str(value)
    is_digest = len(text) >= 40 and all(character in "0123456789abcdef" for character in text)
    return text[:_SHOWN] if is_digest else text


def _gpus(names: Any) -> str:
    if not isinstance(names, list) or not names:
        return "none (CPU)"
    counts = {str(name): names.count(name) for name in names}
    return ", ".join(f"{count} x {name}" for name, count in counts.items())


def _commit(git: Mapping[str, Any]) -> str:
    dirty = " with changes" if git.get("dirty") else ""
    return f"{_short(git.get('commit') or _NONE)}{dirty}"
