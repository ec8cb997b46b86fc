"""The same training on more GPUs: the effective batch is kept while each has a micro-batch, and nothing is free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rlguide.catalog.gpus import parse_gpus
from rlguide.engine.find import Engine
from rlguide.planner.plan import Plan, plan_all
from rlguide.planner.scale import COUNTS, most_gpus, scale, scale_lines, scaled, with_network
from rlguide.planner.simulation import Case
from rlguide.planner.training import Training
from rlguide.workspace import Workspace

Make = Callable[..., Training]


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def planned(
    ws: Workspace, training: Make, simulated: list[Case], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> Callable[..., Plan]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def make(gpus: str = "a100", network: str | None = None, **keys: Any) -> Plan:
        made = training(**keys)
        found = parse_gpus(gpus)
        made = replace(made, schedule=replace(made.schedule, processes=found.count))
        (plan,) = plan_all(ws, Engine(ws.root, {}), [made], with_network(found, network))
        assert isinstance(plan, Plan)
        return plan

    return make


def test_the_effective_batch_is_kept_up_to_one_micro_batch_each(planned: Callable[..., Plan], ws: Workspace) -> None:
    plan = planned()  # 2 x 4 on one GPU: 8 pairs an update
    assert most_gpus(plan) == 4
    rows = scale(plan, ws.root)
    assert [row["gpus"] for row in rows] == list(COUNTS)
    assert [row["effective_batch"] for row in rows] == [8, 8, 8, 16, 32, 64, 128]
    assert [row["accumulation"] for row in rows] == [4, 2, 1, 1, 1, 1, 1]
    for row in rows:
        assert row["gpus"] * row["accumulation"] * 2 == row["effective_batch"]
        assert row["steps"] * row["effective_batch"] >= plan.examples  # no example is lost
    text = "\n".join(scale_lines(plan, rows))
    assert "up to 4 GPUs" in text and "8 pairs are shared by 4 GPUs at most" in text and "64x2x1*" in text


def test_one_gpu_costs_nothing_more_and_more_cost_more(planned: Callable[..., Plan], ws: Workspace) -> None:
    rows = scale(planned(finetuning_type="full"), ws.root)
    assert rows[0]["efficiency"] == 1 and rows[0]["exchange"] == 0 and rows[0]["link"] is None
    for fewer, more in pairwise(rows):
        assert more["efficiency"] <= fewer["efficiency"]
        assert more["gpu_hours"] >= fewer["gpu_hours"]
        assert more["kilowatt_hours"] >= fewer["kilowatt_hours"]
        assert more["nodes"] >= fewer["nodes"]
    for row in rows:
        time = row["seconds"]
        assert time["low"] <= time["mid"] <= time["high"]
        assert row["gpu_hours"] == pytest.approx(row["gpus"] * time["mid"] / 3600)


def test_a_row_is_the_plan_of_as_many_gpus(planned: Callable[..., Plan], ws: Workspace) -> None:
    """A plan for four GPUs with the accumulation of its row says the same."""
    row = scale(planned(), ws.root)[2]
    direct = planned("4xa100", gradient_accumulation_steps=1)
    assert row["peak"] == direct.memory.peak
    assert row["exchange"] == pytest.approx(direct.exchange)
    assert scaled(direct, 4, ws.root).memory == direct.memory


def test_a_slow_network_is_felt_from_the_second_node_on(planned: Callable[..., Plan], ws: Workspace) -> None:
    slow, fast = (
        scale(planned("2x4xa100", network, finetuning_type="full"), ws.root) for network in ("10GbE", "8x400Gb-IB")
    )
    for row, other in zip(slow, fast, strict=True):
        assert (row["exchange"] > other["exchange"]) == (row["gpus"] > 4)
        assert row["nodes"] == max(1, row["gpus"] // 4)


def test_nothing_is_said_of_a_gpu_whose_speed_is_not_known(planned: Callable[..., Plan], ws: Workspace) -> None:
    plan = planned("24GB")
    assert scale(plan, ws.root) == []
    assert "not known" in scale_lines(plan, [])[0]
