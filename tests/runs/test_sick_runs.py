"""The rules of the diagnosis on runs of the real engine of which it is known what is wrong with them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from render_diagnosis import LOGS, PAGE, RUNS, Judged, figures, judge, page  # noqa: E402

from rlguide.catalog.diagnosis import diagnosis_rules  # noqa: E402
from rlguide.catalog.yaml_file import read_yaml  # noqa: E402


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    return judge()


def test_each_run_is_recorded_and_no_other() -> None:
    runs = read_yaml(RUNS)
    assert {path.stem for path in LOGS.glob("*.json")} == set(runs)
    assert sum(path.stat().st_size for path in LOGS.iterdir()) < 1_000_000
    known = set(diagnosis_rules())
    assert all(set(run.get("expect", ())) | set(run.get("allow", ())) <= known for run in runs.values())
    assert all(bool(run.get("expect")) is not name.startswith("well-") for name, run in runs.items())


@pytest.mark.parametrize("number", [None, 1, 2, 3])
def test_findings_are_right_and_hardly_one_is_missing(judged: list[Judged], number: int | None) -> None:
    """Also in the last round, which was trained after the rules were settled."""
    some = [run for run in judged if number in (None, run.round)]
    told = figures(some)
    assert told["precision"] >= 0.95 and told["recall"] >= 0.9
    assert told["clean"] == told["sound"]
    if number is None:
        assert told["sick"] >= 30 and told["sound"] >= 15


def test_each_rule_that_a_training_here_can_break_is_met(judged: list[Judged]) -> None:
    """The others have tests of their own: logits of a large vocabulary, and PPO, which is of another engine."""
    met = {name for run in judged for name in run.hits}
    assert set(diagnosis_rules()) - met == {"kto_logits", "ppo_kl"}


def test_the_table_is_that_of_these_rules_and_runs(judged: list[Judged]) -> None:
    assert PAGE.read_text(encoding="utf-8") == page(judged), "run scripts/render_diagnosis.py"
