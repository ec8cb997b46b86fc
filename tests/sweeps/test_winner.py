"""The winner, how sure it is, and what is shown of a sweep."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest

from rlguide.statistics import Estimate, paired_share, proportion
from rlguide.sweeps.conduct import How
from rlguide.sweeps.objective import Objective
from rlguide.sweeps.planned import SweepPlan, lines
from rlguide.sweeps.screen import curves, next_commands, progress_line, table, time_left, trial_line, winner_lines
from rlguide.sweeps.sweep import Sweep
from rlguide.sweeps.trials import FINISHED, PRUNED, RUNNING, Trial, look_at, rank, run_name
from rlguide.sweeps.winner import Winner, luck_of, winner_of
from rlguide.workspace import Workspace, write_json
from tests.cli.test_printed_commands import parse
from tests.runs.manage.run_files import held_out, write_run
from tests.sweeps.conftest import ACCURACY, LOSS, grid

PAIRS = 10
MARGIN = Objective("margin", "eval_rewards/margins", True)


def write_trial(
    ws: Workspace,
    sweep: Sweep,
    number: int,
    loss: float,
    accuracy: float,
    margins: list[float] | None = None,
    **more: Any,
) -> None:
    """A finished trial; with `margins` evaluated by `rlguide eval`, pair by pair."""
    name = run_name(sweep, number).removeprefix("saves/")
    rule = {} if sweep.objective is LOSS else {"metric_for_best_model": sweep.objective.metric.removeprefix("eval_")}
    config = {"stage": "dpo", "output_dir": f"saves/{name}", "eval_dataset": "pairs_test", **rule}
    folder = write_run(ws, name, [held_out(12, loss, accuracy)], config=config, **more)
    if margins is None:
        return
    rows = [
        {"loss": loss, "chosen_reward": margin, "rejected_reward": 0.0, "chosen": f"c{at}", "rejected": f"r{at}"}
        for at, margin in enumerate(margins)
    ]
    hits = sum(margin > 0 for margin in margins)
    result = {"step": 12, "accuracy": proportion(hits, len(rows)).as_dict()}
    result |= {
        "loss": Estimate(loss, loss, loss, len(rows)).as_dict(),
        "margin": Estimate(1, 0, 2, len(rows)).as_dict(),
    }
    (folder / "eval").mkdir()
    write_json(folder / "eval/result.json", result)
    (folder / "eval/pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def found(ws: Workspace, sweep: Sweep) -> list[Trial]:
    return [look_at(ws, sweep, number, {"learning_rate": number}) for number in range(sweep.trials)]


@pytest.mark.parametrize(("objective", "first"), [(LOSS, 2), (ACCURACY, 1), (MARGIN, 2)])
def test_the_best_by_the_figure_wins(ws: Workspace, objective: Objective, first: int) -> None:
    sweep = grid("learning_rate=0,1,2", objective=objective)
    for number, (loss, accuracy) in enumerate(((0.6, 0.7), (0.5, 0.9), (0.4, 0.8))):
        write_trial(ws, sweep, number, loss, accuracy)
    ranked = rank(found(ws, sweep), objective)
    assert ranked[0].number == first and len(ranked) == 3


def test_of_equals_the_first_wins_and_it_is_said_that_they_are_not_distinguishable(ws: Workspace) -> None:
    sweep = grid("learning_rate=0,1", objective=ACCURACY)
    for number in range(2):
        write_trial(ws, sweep, number, 0.5, 0.8, [1.0] * 8 + [-1.0] * 2)
    winner = winner_of(ws, sweep, found(ws, sweep))
    assert winner is not None and winner.trial.number == 0 and winner.is_distinguishable is False
    (line,) = [line for line in winner_lines(sweep, winner) if line.startswith("next")]
    assert "not distinguishable from trial 1 on 10 pairs" in line


def test_the_difference_is_that_of_the_same_pairs(ws: Workspace) -> None:
    sweep = grid("learning_rate=0,1", objective=ACCURACY)
    draw = random.Random(0)
    before = [draw.choice((-1.0, 1.0)) for _ in range(60)]
    after = [1.0 if draw.random() < 0.9 else value for value in before]
    write_trial(ws, sweep, 0, 0.5, 0.5, before)
    write_trial(ws, sweep, 1, 0.5, 0.9, after)
    winner = winner_of(ws, sweep, found(ws, sweep))
    assert winner is not None and winner.trial.number == 1 and winner.pairs == 60
    assert winner.difference == paired_share([value > 0 for value in before], [value > 0 for value in after])
    assert winner.is_distinguishable is True
    # Pairs of other texts are no measurement of a difference.
    path = ws.root / run_name(sweep, 0) / "eval/pairs.jsonl"
    path.write_text(path.read_text().replace('"c3"', '"another"'))
    again = winner_of(ws, sweep, found(ws, sweep))
    assert again is not None and again.difference is None and again.is_distinguishable is None


def test_the_loss_is_compared_with_the_better_one_above_zero(ws: Workspace) -> None:
    sweep = grid("learning_rate=0,1")
    write_trial(ws, sweep, 0, 0.4, 0.8, [1.0] * PAIRS)
    write_trial(ws, sweep, 1, 0.6, 0.8, [1.0] * PAIRS)
    winner = winner_of(ws, sweep, found(ws, sweep))
    assert winner is not None and winner.difference is not None and winner.figure is not None
    assert winner.trial.number == 0 and winner.difference.value == pytest.approx(0.2)
    assert winner.figure.value == 0.4


def test_a_trial_with_a_grave_finding_cannot_win(ws: Workspace) -> None:
    sweep = grid("learning_rate=0,1")
    write_trial(ws, sweep, 0, 0.6, 0.6)
    write_trial(ws, sweep, 1, 0.1, 0.9)
    log = ws.root / run_name(sweep, 1) / "metrics.jsonl"
    log.write_text('{"step": 3, "loss": "nan", "grad_norm": "nan"}\n' + log.read_text())
    trials = found(ws, sweep)
    assert trials[1].grave == ("nan",) and not trials[1].can_win
    assert [trial.number for trial in rank(trials, LOSS)] == [0]
    _, rows = table(sweep, trials)
    assert rows[1][0] == "1" and "cannot win" in rows[1][4] and "nan!" in rows[1][6]
    assert "cannot win: nan" in trial_line(sweep, trials[1])


def test_luck_is_what_the_best_of_equals_gains_by_chance() -> None:
    """Against many draws: the best of 20 shares of 200 pairs, each of which is right in 70 of 100 cases."""
    draw, count = random.Random(1), 200
    gains = []
    for _ in range(300):
        shares = [sum(draw.random() < 0.7 for _ in range(count)) / count for _ in range(20)]
        gains.append(max(shares) - 0.7)
    luck = luck_of(20, proportion(140, count))
    assert luck is not None and luck == pytest.approx(fmean(gains), rel=0.08)
    assert luck_of(1, proportion(140, count)) == 0


def test_curves_and_json_of_trials(ws: Workspace) -> None:
    sweep = grid("learning_rate=0,1")
    write_trial(ws, sweep, 0, 0.6, 0.7)
    write_trial(ws, sweep, 1, 0.4, 0.8, held_out={})  # how many pairs is not on record: no interval
    trials = found(ws, sweep)
    panel = curves(ws, sweep, trials)
    assert [(line.label, line.points) for line in panel.lines] == [("trial 1", ((12, 0.4),)), ("trial 0", ((12, 0.6),))]
    values = json.loads(json.dumps(trials[1].as_dict(), allow_nan=False))
    assert values["accuracy"]["value"] == 0.8 and values["accuracy"]["ci95_low"] is None


def trial(number: int, state: str, value: float | None = None, **more: Any) -> Trial:
    return Trial(number, f"saves/sweeps/扫 sweep/trial-{number:03d}", {"learning_rate": 1e-6}, state, value, **more)


def test_the_progress_counts_and_tells_the_time_left() -> None:
    sweep = replace(grid("learning_rate=0,1,2,3,4,5"), is_pruned=True)
    trials = [
        trial(0, FINISHED, 0.5, seconds=100.0),
        trial(1, PRUNED, 0.9),
        trial(2, RUNNING, step=5, total=10),
    ]
    assert time_left(sweep, trials, 1) == 350.0 and time_left(sweep, trials, 2) == 175.0
    line = progress_line(sweep, trials, 1)
    assert line == "2 of 6 trials done, 1 running, 1 pruned, best 0.5000 (trial 0), about 5.8 min left"
    assert time_left(sweep, [trial(0, RUNNING)], 1) is None
    last = [*(trial(number, FINISHED, 0.5, seconds=100.0) for number in range(5)), trial(5, RUNNING, step=5, total=10)]
    assert time_left(sweep, last, 4) == 50.0  # the other three have nothing to do


def test_what_comes_next_can_be_typed() -> None:
    import typer

    from rlguide.cli import build_app

    won = Winner(trial(0, FINISHED, 0.5), None, None, None, 0, 1, None)
    app = typer.main.get_command(build_app())
    commands = next_commands(won, is_policy=True)
    assert len(commands) == 3 and all("'saves/sweeps/扫 sweep/trial-000'" in command for command in commands)
    for command in commands:
        parse(app, command)


def test_the_plan_for_a_person() -> None:
    plan = SweepPlan(6, 2, 6, (1800.0, 3600.0, 7200.0), 7200.0, 0.6, 3 * 10**9, "measured")
    shown = "\n".join(lines(plan))
    assert "6, 2 at the same time" in shown and "2.0 GPU-hours" in shown and "0.6 kWh" in shown and "3.0 GB" in shown
    assert plan.as_dict()["seconds"] == {"low": 1800.0, "mid": 3600.0, "high": 7200.0}
    assert How().slots == ("",)
