"""What `rlguide plan` prints: a plan as values for JSON and as lines for a person."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rlguide.planner.changes import Change, faster, first_that_fits, smaller
from rlguide.planner.communication import slowest_link
from rlguide.planner.memory import GIB, NAMES
from rlguide.planner.plan import Plan, plan_all, planned_time
from rlguide.planner.sharing import choose, why
from rlguide.planner.time import Range, kilowatt_hours
from rlguide.recipes.sharing.ways import TITLES

if TYPE_CHECKING:
    from rlguide.engine.find import Engine
    from rlguide.workspace import Workspace

BEST = 5  # settings that `--optimise` shows
_WORTH = 0.02  # of the time


def values(plan: Plan, disk: int | None = None) -> dict[str, Any]:
    """A plan in JSON's terms; bytes, seconds, FLOPs."""
    training, gpus, step = plan.training, plan.gpus, plan.step
    time = planned_time(plan)
    energy = kilowatt_hours(time, gpus) if time is not None and gpus is not None else None
    return {
        "model": str(training.config.get("model_name_or_path")),
        "method": training.method.name,
        "parameters": step.parameters,
        "trained_parameters": step.trained,
        "gpus": {"name": gpus.model.title, "count": gpus.count, "memory": gpus.model.memory_bytes} if gpus else None,
        "sharing": plan.sharing.name,
        "sharing_why": why(plan),
        "memory": dict(plan.memory.parts),
        "peak": plan.memory.peak,
        "fits": plan.fits,
        "largest": plan.memory.largest,
        "gradient_checkpointing": plan.is_checkpointed,
        "checkpointing_why": plan.why,
        "faster_path": not training.is_plain,
        "lengths": {
            "mean": round(training.lengths.mean),
            "longest": training.lengths.longest[0] + max(training.lengths.longest[1:]),
            "from": training.lengths.why,
        },
        "rows": training.schedule.rows,
        "examples": plan.examples,
        "unit": training.schedule.unit,
        "steps": training.schedule.total_steps,
        "effective_batch": training.schedule.effective_batch,
        "tokens": round(plan.tokens),
        "flops": plan.work.flops,
        "seconds": _range(time),
        "exchange": _exchange(plan),
        "kilowatt_hours": _range(energy),
        "disk": disk,
    }


def _exchange(plan: Plan) -> dict[str, Any] | None:
    """What several GPUs pass to each other: bytes of an update, seconds of the training, and over what."""
    if plan.gpus is None or plan.gpus.count < 2:
        return None
    link = slowest_link(plan.gpus)
    return {"bytes": plan.traffic.volume, "seconds": plan.exchange, "link": link.name, "bandwidth": link.bandwidth}


def _range(value: Range | None) -> dict[str, Any] | None:
    if value is None:
        return None
    return {"low": value.low, "mid": value.mid, "high": value.high, "from": value.why}


def lines(found: Mapping[str, Any]) -> list[str]:
    """The values of a plan for a person."""
    length, gpus = found["lengths"], found["gpus"]
    trained = f"{_count(found['trained_parameters'])} of {_count(found['parameters'])} parameters are trained"
    shown = [
        f"model      {found['model']}: {trained}",
        f"lengths    mean {length['mean']:,} tokens of an example with all its responses, longest response with its "
        f"prompt {length['longest']:,} ({length['from']})",
        f"GPUs       {gpus['count']} x {gpus['name']}, {sharing_line(found)}"
        if gpus
        else "GPUs       none here: --gpus",
        f"memory     {memory_line(found)}",
        *(f"           {size / GIB:7.2f} GiB  {NAMES[kind]}" for kind, size in found["memory"].items()),
        f"           gradient checkpointing {'on' if found['gradient_checkpointing'] else 'off'}: "
        f"{found['checkpointing_why']}",
        f"work       {found['examples']:,} {found['unit']}, {found['steps']:,} steps of {found['effective_batch']}; "
        f"{found['tokens'] / 1e6:,.1f} million tokens with padding; {found['flops']:.2e} FLOPs",
    ]
    if found["seconds"] is not None:
        shown.append(f"time       {time_line(found)} ({found['seconds']['from']})")
    if (exchange := found["exchange"]) is not None and found["seconds"] is not None:
        shown.append(
            f"exchange   {exchange['bytes'] / 1e9:.3g} GB an update over {exchange['link']} at "
            f"{exchange['bandwidth'] / 1e9:.3g} GB/s: {duration(exchange['seconds'])} of it, if none is hidden"
        )
    if (energy := found["kilowatt_hours"]) is not None:
        shown.append(f"energy     about {energy['mid']:.1f} kWh ({energy['from']})")
    if found["disk"] is not None:
        shown.append(f"disk       at most {found['disk'] / 1e9:.1f} GB for checkpoints")
    shown += [f"  fix: {found['fix']}"] if found.get("fix") else []
    return shown + (fastest_lines(found["fastest"]) if "fastest" in found else [])


def sharing_line(found: Mapping[str, Any]) -> str:
    """How GPUs share the training, and why so."""
    return f"{found['sharing']}: {found['sharing_why']}" if found["sharing_why"] else str(found["sharing"])


def memory_line(found: Mapping[str, Any]) -> str:
    """The peak against a GPU's memory."""
    peak = found["peak"] / GIB
    if found["gpus"] is None:
        return f"{peak:.1f} GiB at the peak"
    room = found["gpus"]["memory"] / GIB
    verdict = "fits" if found["fits"] else f"does not fit; the largest part: {NAMES[found['largest']]}"
    return f"{peak:.1f} of {room:.1f} GiB on each GPU at the peak: {verdict}"


def time_line(found: Mapping[str, Any]) -> str:
    """The time and its range."""
    time = found["seconds"]
    return f"about {duration(time['mid'])}, between {duration(time['low'])} and {duration(time['high'])}"


def duration(seconds: float) -> str:
    """Time for people: 40 s, 12 min, 5.3 hours, 2.1 days."""
    for size, unit, least in ((86400, "days", 2 * 86400), (3600, "hours", 5400), (60, "min", 90)):
        if seconds >= least:
            return f"{seconds / size:.1f} {unit}" if seconds / size < 10 else f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _count(number: int) -> str:
    for size, unit in ((1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:,}"


def smallest_fix(ws: Workspace, engine: Engine, plan: Plan) -> str:
    """The smallest change that makes a training fit that does not, as the command to type."""
    shared = choose(ws, engine, plan)
    if shared is not None:  # which learns the same
        return f"{_again(Change(), ['--sharing', shared.name])}    # {TITLES[shared.name]}: {shared.why}"
    changes = smaller(plan.training, _merges(sys.argv[1:]))
    found = first_that_fits(changes, plan_all(ws, engine, [item.of(plan.training) for item in changes], plan.gpus))
    if found is None:
        return "nothing here fits: a smaller model, more GPU memory, or more GPUs with --sharing fsdp"
    change, other = found
    learns = f"; it changes what is learnt: {change.learns}" if change.learns else ""
    return f"{_again(change)}    # {change.what}: {other.memory.peak / GIB:.1f} GiB{learns}"  # pasted, it is a comment


def _merges(arguments: Sequence[str]) -> bool:
    """Whether a command merges an SFT adapter that a base of 4 bits cannot hold: `plan` need not; a dry run does not,
    and of a config that its user owns nothing else is changed.
    """
    command, *others = [word for word in arguments if word != "--debug"] or [""]
    return command == "plan" or not any(word.startswith(("--config", "--dry-run", "-c")) for word in others)


def _again(change: Change, options: Sequence[str] = ()) -> str:
    """The command that was typed, with a change in the place of what it said of the same keys; and other options."""
    kept: list[str] = []
    for argument in _without("--sharing", sys.argv[1:]) if "--sharing" in options else sys.argv[1:]:
        is_value = bool(kept) and kept[-1] in ("--set", "-s")
        setting = argument if is_value else argument.removeprefix("--set=").removeprefix("-s")
        if (is_value or setting != argument) and setting.split("=")[0].strip() in change.settings:
            kept = kept[: len(kept) - is_value]
        else:
            kept.append(argument)
    return shlex.join(["rlguide", *kept, *change.options, *options])


def _without(option: str, arguments: Sequence[str]) -> list[str]:
    """The arguments without an option and its value."""
    before = ["", *arguments[:-1]] if arguments else []
    return [
        argument
        for argument, last in zip(arguments, before, strict=True)
        if option not in (argument, last) and not argument.startswith(f"{option}=")
    ]


def fastest(ws: Workspace, engine: Engine, plan: Plan) -> list[dict[str, Any]]:
    """The settings that fit and take least time, the fastest first; the first that changes nothing learnt is chosen."""
    changes = [Change(), *faster(plan.training, "liger_kernel" in engine.versions)]
    plans = plan_all(ws, engine, [change.of(plan.training) for change in changes], plan.gpus)
    before = planned_time(plan)
    rows: list[dict[str, Any]] = []
    for change, other in zip(changes, plans, strict=True):
        if not isinstance(other, Plan) or other.fits is False:
            continue
        time = planned_time(other)
        rows.append({
            "what": change.what,
            "learns": change.learns,
            "options": change.options,
            "seconds": time.mid if time else None,
            "faster": before.mid / time.mid if time and before else None,
            "peak": other.memory.peak,
            "gradient_checkpointing": other.is_checkpointed,
            "flops": other.work.flops,
        })  # fmt: skip
    rows.sort(key=lambda row: (row["seconds"] or row["flops"], bool(row["learns"]), len(row["options"])))
    chosen = next((row for row in rows if not row["learns"]), None)
    # What is learnt otherwise must be worth it.
    least = (chosen["seconds"] or chosen["flops"]) * (1 - _WORTH) if chosen else 0
    best = [row for row in rows if not row["learns"] or (row["seconds"] or row["flops"]) < least][:BEST]
    if chosen is not None and chosen not in best:
        best[-1] = chosen
    for row in best:
        row["chosen"] = row is chosen
    return best


def fastest_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows of `fastest` for a person."""
    if not rows:
        return ["fastest    none: no setting that learns the same fits"]
    shown = ["fastest    of the settings that fit, at the same effective batch:"]
    for row in rows:
        time = f"{duration(row['seconds'])} (x {row['faster']:.2f})" if row["seconds"] else f"{row['flops']:.2e} FLOPs"
        learns = f"; changes {row['learns']}" if row["learns"] else ""
        mark = "*" if row["chosen"] else " "
        checkpointing = "on" if row["gradient_checkpointing"] else "off"
        shown.append(
            f"         {mark} {row['what']}: {time}, {row['peak'] / GIB:.1f} GiB, checkpointing {checkpointing}{learns}"
        )
    chosen = next((row for row in rows if row["chosen"]), None)
    if chosen is not None:
        options = shlex.join(chosen["options"])
        shown.append(f"         * learns the same{f': {options}' if options else ', as it is'}")
    return shown
