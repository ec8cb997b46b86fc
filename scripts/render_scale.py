"""Write the tables of docs/scale.md that say what 1 to 64 GPUs cost, as `rlguide plan --scale` counts it.

python scripts/render_scale.py    the engine simulates a step of each training (half a minute of CPU time)
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rlguide.catalog.gpus import parse_gpus
from rlguide.engine.find import find_engine
from rlguide.planner.asked import as_host, of_model
from rlguide.planner.plan import Plan, plan_all
from rlguide.planner.report import duration
from rlguide.planner.scale import scale, with_network
from rlguide.recipes.options import TrainingOptions
from rlguide.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/scale.md"
MODEL, GPUS = "Qwen/Qwen3-4B-Base", "2xA100"
SLOW, ONE, EIGHT = "25GbE", "200Gb-IB", "8x200Gb-IB"  # networks
_LINE = "|---" * 8 + "|"
_TABLE = re.compile(r"(?P<head><!-- (?P<name>lora|full) -->\n)[^<]*(?=<!-- end -->)")


def tables() -> dict[str, str]:
    """The text that stands between the marks of the page, by their name; speeds are published ones."""
    ws, engine = Workspace(ROOT), find_engine()
    before = os.environ.get("XDG_STATE_HOME")
    with tempfile.TemporaryDirectory() as nothing_learnt:
        os.environ["XDG_STATE_HOME"] = nothing_learnt
        try:
            gpus = with_network(parse_gpus(GPUS), ONE)
            # Sharing as the plan chooses it (planner/sharing.py), which would simulate all weights once more.
            options = [TrainingOptions(), TrainingOptions(settings={"finetuning_type": "full"}, sharing="fsdp")]
            trainings = [of_model(ws, engine, MODEL, each, as_host(gpus) or [], False) for each in options]
            plans = plan_all(ws, engine, trainings, gpus)
            lora, full = ([scale(_over(plan, name), ROOT) for name in (SLOW, ONE, EIGHT)] for plan in plans)
        finally:
            os.environ.pop("XDG_STATE_HOME") if before is None else os.environ.update(XDG_STATE_HOME=before)
    return {"lora": _lora(lora[1], lora[0]), "full": _full(full[1], full[2])}


def _over(plan: Plan | str, network: str) -> Plan:
    """The plan with this network. Raises SystemExit where there is no plan."""
    if isinstance(plan, str) or plan.gpus is None:
        raise SystemExit(f"no plan: {plan}")
    return replace(plan, gpus=with_network(plan.gpus, network))


def _lora(rows: list[dict[str, Any]], slow: list[dict[str, Any]]) -> str:
    lines = [
        "| GPUs | Nodes | Batch | Time | Exchange | GPU-hours | kWh | Efficiency |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        micro = row["effective_batch"] // (row["gpus"] * row["accumulation"])
        star = "*" if row["effective_batch"] != rows[0]["effective_batch"] else ""
        lines.append(
            f"| {row['gpus']} | {row['nodes']} | {row['gpus']}x{micro}x{row['accumulation']}{star} | {_time(row)}"
            f" | {_part(row)} | {row['gpu_hours']:.1f} | {row['kilowatt_hours']:.1f} | {row['efficiency']:.0%} |"
        )
    few, many = (_part(row) for row in slow if row["gpus"] in (16, 64))
    said = f"With {SLOW} between the nodes the exchange takes {few} of the time on 16 GPUs and {many} on 64."
    return "\n".join([*lines, "", said, ""])


def _full(one: list[dict[str, Any]], eight: list[dict[str, Any]]) -> str:
    heads = f"| GPUs | Nodes | Time with {ONE} | Exchange | Efficiency | Time with {EIGHT} | Exchange | Efficiency |"
    lines = [heads, _LINE]
    for row, other in zip(one, eight, strict=True):
        if row["fits"]:
            cells = (cell for each in (row, other) for cell in (_time(each), _part(each), f"{each['efficiency']:.0%}"))
            lines.append(f"| {row['gpus']} | {row['nodes']} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _time(row: dict[str, Any]) -> str:
    return duration(row["seconds"]["mid"])


def _part(row: dict[str, Any]) -> str:
    return f"{row['exchange'] / row['seconds']['mid']:.1%}"


def page(found: dict[str, str]) -> str:
    """The page with these tables."""
    return _TABLE.sub(lambda match: match["head"] + found[match["name"]], PAGE.read_text(encoding="utf-8"))


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(tables()), encoding="utf-8")


if __name__ == "__main__":
    main()
