"""A run as it fills a terminal, at any width."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.text import Text

from rlguide.engine.events import Logged
from rlguide.engine.hardware import GpuUse, parse_use
from rlguide.runs.diagnosis.finding import Finding, finding_lines
from rlguide.runs.view.screen import Curves, document, lines_of
from rlguide.runs.view.screen import screen as screen_of
from rlguide.runs.view.state import RunState
from rlguide.runs.view.training import state_of
from tests.runs.view.conftest import Clock, make_run, recorded


def screen(state: RunState, width: int, height: int) -> Text:
    return screen_of(state, width, height, curves=Curves())


SIZES = [(60, 24), (60, 40), (80, 24), (120, 30), (200, 50)]
FINDING = Finding(
    rule="margin_runs_away",
    level="warning",
    step=120,
    seen="the margin rose to 31.2 with an accuracy of 1.00",
    means="the policy is over-optimised: it moves far from its reference to gain nothing",
    fix="raise pref_beta, or train fewer epochs",
    command="rlguide train --config saves/demo/lora/dpo/config.yaml -o saves/again --set pref_beta=0.3",
    source="arXiv 2404.04626",
)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fits_at_every_moment_and_cuts_no_label(state: RunState, clock: Clock, width: int, height: int) -> None:
    events = recorded()
    for count, event in enumerate(events, 1):
        clock.now = event.time
        state.see(event)
        if count % 8 and count < len(events):
            continue
        rows = screen(state, width, height).plain.split("\n")
        assert len(rows) <= height and max(map(cell_len, rows)) <= width
        text = " ".join(" ".join(rows).split())
        assert "…" not in text
        assert state.position() in text and state.doing() in text and "since the start" in text
        if state.left() is not None:
            assert "left (until" in text
    assert "loss ─ 0.4678 o held out 0.4894" in text


def test_on_a_wide_screen_all_curves_are_there(state: RunState, clock: Clock) -> None:
    for event in recorded():
        clock.now = event.time
        state.see(event)
    text = screen(state, 200, 50).plain
    for title in ("loss  ─", "reward accuracy  ─", "margin  ─", "rewards  chosen ─", "rejected x", "learning rate  ─"):
        assert title in text, title


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_finding_is_said_whole_above_the_curves(state: RunState, width: int, height: int) -> None:
    for event in recorded():
        state.see(event)
    state.findings = [FINDING]
    rows = screen(state, width, height).plain.split("\n")
    text = " ".join(" ".join(rows).split())
    said = " ".join(" ".join(finding_lines(FINDING)[:-1]).split())
    assert said in text
    assert text.index(said) < text.index("loss ─")


def test_many_findings_leave_room_and_say_where_the_others_are(state: RunState) -> None:
    for event in recorded():
        state.see(event)
    state.findings = [replace(FINDING, rule=str(count)) for count in range(9)]
    text = screen(state, 80, 24).plain
    assert "and more: rlguide watch saves/demo/lora/dpo --once" in text
    assert len(text.split("\n")) <= 24
    assert sum(line.startswith("WARNING ") for line in lines_of(state)) == 9


def test_the_diagnosis_stands_as_it_is(state: RunState) -> None:
    """It is asked anew for all rows so far, as they were logged."""
    state.diagnosis = lambda rows: [FINDING] * (rows[-1]["step"] >= 80)
    for event in recorded():
        state.see(event)
        assert bool(state.findings) == any(row["step"] >= 80 for row in state.rows)


def test_a_loss_that_is_no_number_is_found(clock: Clock, tmp_path: Path) -> None:
    """It is in no curve, and what finds it sees it all the same."""
    state = state_of(make_run(tmp_path))
    for step in range(1, 4):
        state.see(Logged(step, {"loss": math.nan, "grad_norm": math.nan}, time=clock.now))
    assert "nan" in [finding.rule for finding in state.findings]
    assert "ERROR nan" in screen(state, 80, 30).plain


def test_a_terminal_without_these_characters_gets_figures(state: RunState) -> None:
    for event in recorded():
        state.see(event)
    text = screen_of(state, 80, 24).plain
    assert "reward accuracy 0.97" in text and "held-out loss 0.4894" in text and text.isascii()
    assert screen(state, 80, 9).plain.count("\n") < 9  # nor where there is no room


def test_gpus_are_shown_with_their_memory(state: RunState) -> None:
    text = "0, NVIDIA H100 80GB HBM3, 40000, 81559, 98\n1, NVIDIA A100-SXM4-40GB MIG 1g.5gb, 10, 4864, [N/A]\nbroken\n"
    state.gpus = parse_use(text)
    assert state.gpus[0] == GpuUse(0, "NVIDIA H100 80GB HBM3", 40000 << 20, 81559 << 20, 98)
    shown = screen(state, 80, 24).plain
    assert "GPU 0 NVIDIA H100 80GB HBM3: 39.1 of 79.6 GiB, 98 % busy" in shown
    assert "MIG 1g.5gb: 0.0 of 4.8 GiB" in shown and "MIG 1g.5gb: 0.0 of 4.8 GiB," not in shown
    assert document(state)["gpus"][0]["busy"] == 98 and document(state)["gpus"][1]["busy"] is None


def test_a_long_name_goes_on_in_the_next_line(clock: Clock) -> None:
    from rlguide.runs.pace import Pace

    name = "saves/" + "很长的名字" * 20
    rows = screen(RunState(name, {}, Pace({}, 9), now=clock), 60, 24).plain.split("\n")
    assert name in "".join(rows) and max(map(cell_len, rows)) <= 60


def test_curves_are_painted_again_for_a_new_point_or_another_size_only(state: RunState) -> None:
    curves = Curves()
    for event in recorded()[:30]:
        state.see(event)
    first = curves.paint(state.rows, 80, 20)
    assert curves.paint(state.rows, 80, 20) is first
    assert curves.paint(state.rows, 60, 20) is not first
    for event in recorded()[30:60]:
        state.see(event)
    assert curves.paint(state.rows, 80, 20).plain != first.plain
