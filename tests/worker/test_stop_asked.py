"""A training that rlguide asks to stop: after one step, in every process."""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "rlguide_worker"))

import stop_asked

from rlguide.runs.diagnosis.stopping import EXIT_CODE, REQUEST

pytestmark = pytest.mark.engine
ALONE = SimpleNamespace(world_size=1)
FIRST = SimpleNamespace(is_world_process_zero=True)


def control() -> SimpleNamespace:
    return SimpleNamespace(should_training_stop=False, should_save=True, should_evaluate=True)


def test_both_sides_mean_the_same() -> None:
    assert (stop_asked.STOP, stop_asked.EXIT_CODE) == (REQUEST, EXIT_CODE)


@pytest.mark.parametrize("content", ["", "[", "null", "[]", '{"save": false}'])
def test_what_cannot_be_read_saves_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / REQUEST).write_text(content)
    assert stop_asked.asked_for(tmp_path) in (stop_asked._NOT_ASKED, stop_asked._ASKED)


def test_a_step_is_saved_before_the_training_is_told_to_stop(tmp_path: Path) -> None:
    """A checkpoint that says that training stops would not be resumed from."""
    stopper, state = stop_asked.make_callback(tmp_path, is_ppo=False), control()
    stopper.on_step_end(ALONE, FIRST, state)
    assert state == control()
    (tmp_path / REQUEST).write_text(json.dumps({"save": True}))
    stopper.on_step_end(ALONE, FIRST, state)
    assert (state.should_training_stop, state.should_save, state.should_evaluate) == (False, True, False)
    stopper.on_save(ALONE, FIRST, state)
    assert state.should_training_stop
    with pytest.raises(SystemExit) as raised:
        stopper.on_train_end(ALONE, FIRST, state)
    assert raised.value.code == EXIT_CODE


def test_lost_weights_are_not_saved(tmp_path: Path) -> None:
    stopper, state = stop_asked.make_callback(tmp_path, is_ppo=False), control()
    (tmp_path / REQUEST).write_text(json.dumps({"save": False}))
    stopper.on_step_end(ALONE, FIRST, state)
    assert (state.should_training_stop, state.should_save) == (True, False)


def test_ppo_ends_its_loop_and_saves_by_itself(tmp_path: Path) -> None:
    stopper, state = stop_asked.make_callback(tmp_path, is_ppo=True), control()
    (tmp_path / REQUEST).write_text(json.dumps({"save": True}))
    stopper.on_step_end(ALONE, FIRST, state)
    assert state.should_training_stop
    stopper.on_train_end(ALONE, FIRST, state)  # the engine saves after it
    with pytest.raises(SystemExit):
        stopper.exit_if_asked()


def _process(rank: int, folder: str, found: Any) -> None:
    import torch

    where = f"file://{folder}/meet"
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)
    args = SimpleNamespace(world_size=2, device=torch.device("cpu"))
    here = (
        [stop_asked._NOT_ASKED, stop_asked._ASKED_TO_SAVE] if rank == 0 else [stop_asked._ASKED, stop_asked._NOT_ASKED]
    )
    found.put((rank, [stop_asked.agreed(asked, args) for asked in here]))


def test_every_process_does_what_the_first_one_saw(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    processes = [context.Process(target=_process, args=(rank, str(tmp_path), found)) for rank in (0, 1)]
    for process in processes:
        process.start()
    told = dict(found.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(60)
    assert told[0] == told[1] == [stop_asked._NOT_ASKED, stop_asked._ASKED_TO_SAVE]
