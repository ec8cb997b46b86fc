"""Runs side by side: only what differs, figures of the same step, curves of all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlguide.errors import UsageError
from rlguide.runs.curves import Panel, panels
from rlguide.runs.manage.compare import compare, short_names
from rlguide.runs.manage.listed import percent
from rlguide.runs.manage.overlay import plot_overlay
from rlguide.runs.metrics import read_metrics
from rlguide.runs.record import open_run
from rlguide.statistics import proportion
from rlguide.workspace import Workspace
from tests.cli.command import run as rlguide
from tests.runs.manage.run_files import held_out, write_run

CONFIG = {"stage": "dpo", "dataset": "pairs", "eval_dataset": "pairs_test", "pref_beta": 0.1, "learning_rate": 5e-6}


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """Two runs that differ in learning rate, steps and template; a third with another loss and other held-out pairs."""
    ws = Workspace(tmp_path)
    sums = {"pairs": "1", "pairs_test": "2"}
    rows = [{"step": 1, "loss": 0.6931, "rewards/chosen": 0.0}, held_out(4, 0.6, 0.7), {"step": 12, "loss": 0.4}]
    write_run(
        ws, "tiny/lora/dpo", [*rows, held_out(12, 0.5, 0.8)], checksums=sums, config={**CONFIG, "output_dir": "a"}
    )
    other = {**CONFIG, "learning_rate": 5e-4, "output_dir": "b"}
    write_run(ws, "tiny/lora/快", [*rows, held_out(12, 0.7, 0.6)], checksums=sums, config=other, total_steps=24)
    third = {**CONFIG, "pref_loss": "ipo", "eval_dataset": "more", "output_dir": "c"}
    write_run(ws, "tiny/ipo", rows, loss="ipo", held_out={"more": 3}, config=third)
    return ws


def test_only_settings_that_differ(ws: Workspace) -> None:
    found = compare([open_run(ws, f"saves/tiny/lora/{name}") for name in ("dpo", "快")])
    assert found.labels == ("dpo", "快")
    assert found.settings == {"planned steps": ("12", "24"), "learning_rate": ("5.0e-6", "0.0005")}
    assert found.notes == ()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["dpo"], "saves/tiny/lora/dpo is one run, and there is none to compare it with"),
        (["快", "dpo", "dpo"], "saves/tiny/lora/dpo cannot be compared with itself"),
    ],
)
def test_one_run_is_no_comparison(ws: Workspace, names: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        compare([open_run(ws, f"saves/tiny/lora/{name}") for name in names])
    assert caught.value.what == said


def test_the_figures_are_those_of_the_best_step(ws: Workspace) -> None:
    figures = compare([open_run(ws, f"saves/tiny/lora/{name}") for name in ("dpo", "快")]).figures
    assert figures["best step"] == ("12", "4")
    assert figures["held-out accuracy"] == tuple(percent(proportion(hits, 10)) for hits in (8, 7))
    assert figures["held-out loss"] == ("0.5000", "0.6000")
    assert figures["held-out loss at the end"] == ("0.5000", "0.7000")
    assert figures["held-out margin"] == ("+0.5000", "+0.4000")


def test_what_an_evaluation_found_has_its_interval_where_all_were_evaluated(ws: Workspace) -> None:
    runs = [open_run(ws, f"saves/tiny/lora/{name}") for name in ("dpo", "快")]
    figure = {"value": 0.5, "ci95_low": 0.25, "ci95_high": 0.75, "count": 10}
    for run, step in zip(runs, (12, 12), strict=True):  # the best step of the first only
        (run.path / "eval").mkdir()
        result = {"step": step, "margin": figure, "loss": figure}
        (run.path / "eval/result.json").write_text(json.dumps(result))
    assert compare(runs).figures["held-out margin"] == ("+0.5000", "+0.4000")
    (runs[1].path / "eval/result.json").write_text(json.dumps({**result, "step": 4}))
    figures = compare(runs).figures
    assert figures["held-out margin"] == ("+0.5000 (+0.2500 to +0.7500)",) * 2
    assert figures["held-out loss"] == ("0.5000 (0.2500 to 0.7500)",) * 2


def test_what_cannot_be_compared_is_said(ws: Workspace) -> None:
    notes = compare([open_run(ws, name) for name in ("saves/tiny/lora/dpo", "saves/tiny/ipo")]).notes
    assert "held-out data are not the same" in notes[0] and "different losses" in notes[1]


def test_the_curves_of_all_runs_lie_in_one_panel(ws: Workspace) -> None:
    runs = [open_run(ws, f"saves/tiny/lora/{name}") for name in ("dpo", "快")]
    found = compare(runs).panels
    alone = [panels(read_metrics(run.path / "metrics.jsonl")) for run in runs]
    assert [panel.title for panel in found] == [panel.title for panel in alone[0]]
    for at, panel in enumerate(found):
        points = [line.points for own in alone for line in own[at].lines]
        assert [line.points for line in panel.lines] == points
    [loss] = [panel for panel in found if panel.title == "loss"]
    assert [line.label for line in loss.lines] == ["dpo", "dpo", "快", "快"]
    [rewards] = [panel for panel in found if panel.title == "rewards"]
    assert [line.label for line in rewards.lines] == ["dpo chosen", "快 chosen"]


@pytest.mark.filterwarnings("error")  # of a font that has no Chinese
def test_the_command(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["saves/tiny/lora/dpo", "saves/tiny/lora/快", "saves/tiny/ipo"]
    assert rlguide("runs", "compare", *names, "-w", str(ws.root)) == 0
    out, err = capsys.readouterr()
    assert "learning_rate" in out and "pref_beta" not in out and "note: their held-out data" in err
    file = "saves/compare-lora_dpo-lora_快-ipo.png"
    assert out.splitlines()[-1] == file
    assert (ws.root / file).read_bytes().startswith(b"\x89PNG")
    assert rlguide("runs", "compare", *names[:2], "--json", "--plot", str(ws.root / "x.png"), "-w", str(ws.root)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"]["learning_rate"] == {names[0]: "5.0e-6", names[1]: "0.0005"}
    assert found["plot"] == "x.png"
    assert found["numbers"][names[1]]["accuracy"]["count"] == 10


@pytest.mark.parametrize("names", [["saves/tiny/ipo"], ["saves/tiny/ipo", "saves/tiny/ipo"], ["saves/tiny/ipo", "no"]])
def test_what_cannot_be_meant_is_refused(ws: Workspace, capsys: pytest.CaptureFixture[str], names: list[str]) -> None:
    assert rlguide("runs", "compare", *names, "-w", str(ws.root)) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2


@pytest.mark.filterwarnings("error")
def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    assert plot_overlay([], ["a"], tmp_path / "x.png") is None
    assert plot_overlay([Panel("loss", ())], ["a"], tmp_path / "x.png") == tmp_path / "x.png"


def test_names_without_what_they_share() -> None:
    assert short_names(["saves/a/dpo", "saves/b/dpo"]) == ("a/dpo", "b/dpo")
    assert short_names(["saves/a", "saves/a/b"]) == ("a", "a/b")
    assert short_names(["saves/x/lora/dpo", "saves/x/lora/dpo-2"]) == ("dpo", "dpo-2")
