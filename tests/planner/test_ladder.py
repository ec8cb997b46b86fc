"""The next setting after memory ran out: it needs less, learns the same, and there is an end to it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.catalog.methods import methods
from rlguide.engine.out_of_memory import Figures
from rlguide.planner.ladder import CHECKPOINTING, SEGMENTS, Change, Failed, next_setting, what_is_left, why_fixed
from rlguide.recipes.schedule import schedule

BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"
GPU = Failed("gpu", during="training")
CONFIGS = st.fixed_dictionaries(
    {BATCH: st.integers(1, 64), ACCUMULATION: st.integers(1, 32)},
    optional={
        "num_train_epochs": st.integers(1, 4),
        "disable_gradient_checkpointing": st.booleans(),
        "dataloader_num_workers": st.integers(0, 4),
        "preprocessing_num_workers": st.integers(1, 16),
        "per_device_eval_batch_size": st.integers(1, 16),
        "use_cpu": st.booleans(),
    },
)
FAILED = st.builds(
    Failed,
    memory=st.sampled_from(["gpu", "main"]),
    during=st.sampled_from(["", "start", "training", "evaluation"]),
    lean=st.sampled_from([(), ("reference", "checkpointing")]),
    can_segment=st.booleans(),
    has_liger=st.booleans(),
)


def after(failed: Failed, change: Change) -> Failed:
    """The same failure of a run that has the change."""
    return replace(failed, ways=(*failed.ways, change.way) if change.way else failed.ways)


@given(CONFIGS, FAILED, st.integers(1, 5000), st.integers(1, 8))
def test_every_step_keeps_batch_and_steps_and_there_is_an_end(
    config: dict[str, Any], failed: Failed, rows: int, processes: int
) -> None:
    planned = schedule(config, [rows], [], processes)
    seen = []
    while (change := next_setting(config, failed)) is not None:
        config, failed = change.applied(config), after(failed, change)
        assert schedule(config, [rows], [], processes) == planned
        assert change.describe(config)
        assert (config, failed.ways) not in seen, "it would go round in circles"
        seen.append((config, failed.ways))
    assert len(seen) <= 16


def test_the_order_of_the_steps() -> None:
    """What costs nothing first, then time, then other kernels; what learns something else is never among them."""
    config: dict[str, Any] = {BATCH: 4, ACCUMULATION: 2, "cutoff_len": 2048}
    failed = replace(GPU, lean=("checkpointing",), can_segment=True, has_liger=True)
    said = []
    while (change := next_setting(config, failed)) is not None:
        said.append(change.describe(config))
        config, failed = change.applied(config), after(failed, change)
    assert said == [
        "CUDA memory in segments that can grow",
        "gradient checkpointing on",
        "micro-batch 4 -> 2, accumulation 2 -> 4",
        "micro-batch 2 -> 1, accumulation 4 -> 8",
        "enable_liger_kernel true",
    ]
    assert config == {BATCH: 1, ACCUMULATION: 8, "cutoff_len": 2048, "enable_liger_kernel": True}


@pytest.mark.parametrize(("batch", "smaller"), [(8, 4), (6, 3), (9, 3), (7, 1), (2, 1)])
def test_a_smaller_micro_batch_divides_the_one_before(batch: int, smaller: int) -> None:
    change = next_setting({BATCH: batch, ACCUMULATION: 3}, GPU)
    assert change == Change({BATCH: smaller, ACCUMULATION: 3 * batch // smaller})


def test_what_the_engine_takes_where_a_key_is_not_set() -> None:
    assert next_setting({}, GPU) == Change({BATCH: 4, ACCUMULATION: 2})  # transformers: 8 and 1
    assert next_setting({BATCH: "many", ACCUMULATION: None}, GPU) == Change({BATCH: 4, ACCUMULATION: 2})
    assert next_setting({BATCH: 10**30 + 57}, GPU) is not None  # of a record that anybody may have written


def test_a_setting_that_the_plan_knows_does_not_fit_is_skipped() -> None:
    config = {BATCH: 8, ACCUMULATION: 1}
    assert next_setting(config, GPU, lambda it: it[BATCH] < 4) == Change({BATCH: 2, ACCUMULATION: 4})
    assert next_setting(config, GPU, lambda it: None) == Change({BATCH: 4, ACCUMULATION: 2})
    assert next_setting(config, GPU, lambda it: False) is None


def test_the_plan_is_not_asked_of_what_it_does_not_know() -> None:
    """It is of the memory of a GPU in a step of training; after a failure it says that nothing like that step fits."""

    def never(config: Any) -> bool:
        return False

    for config, failed in (
        ({BATCH: 1}, replace(GPU, can_segment=True)),
        ({"per_device_eval_batch_size": 4}, replace(GPU, during="evaluation")),
        ({"dataloader_num_workers": 4}, replace(GPU, memory="main")),
    ):
        assert next_setting(config, failed, never) == next_setting(config, failed)
        assert next_setting(config, failed, never) is not None


@pytest.mark.parametrize(
    ("figures", "helps"),
    [
        (Figures(tried=100, free=10, unallocated=95), True),
        (Figures(tried=100, free=10, unallocated=20), False),
        (Figures(), True),
    ],
)
def test_segments_are_tried_where_memory_may_have_been_in_pieces(figures: Figures, helps: bool) -> None:
    failed = replace(GPU, figures=figures, can_segment=True)
    change = next_setting({BATCH: 2}, failed)
    assert change is not None and (change.way == SEGMENTS) is helps
    for other in (
        replace(failed, can_segment=False),
        replace(failed, memory="main"),
        replace(failed, ways=(SEGMENTS,)),
    ):
        change = next_setting({BATCH: 2, "use_cpu": True}, other)
        assert change is not None and not change.way


def test_checkpointing_that_a_person_turned_off_stays_on() -> None:
    """Else rlguide's own measure would turn it off again."""
    config = {BATCH: 1, "disable_gradient_checkpointing": True}
    change = next_setting(config, GPU)
    assert change == Change({"disable_gradient_checkpointing": False}, CHECKPOINTING)
    assert change.describe(config) == "gradient checkpointing on"
    assert next_setting(change.applied(config), replace(GPU, ways=(CHECKPOINTING,))) is None


def test_a_model_that_does_not_fit_is_not_tried_again() -> None:
    assert next_setting({BATCH: 8}, replace(GPU, during="start")) is None


def test_an_evaluation_takes_fewer_rows_and_the_training_is_as_it_was() -> None:
    config = {BATCH: 8, "per_device_eval_batch_size": 4}
    assert next_setting(config, replace(GPU, during="evaluation")) == Change({"per_device_eval_batch_size": 2})
    assert next_setting({BATCH: 8, "per_device_eval_batch_size": 1}, replace(GPU, during="evaluation")) is None


@pytest.mark.parametrize(
    ("config", "during", "settings"),
    [
        ({"preprocessing_num_workers": 16, "dataloader_num_workers": 4}, "start", {"preprocessing_num_workers": 1}),
        ({"preprocessing_num_workers": 16, "dataloader_num_workers": 4}, "training", {"dataloader_num_workers": 0}),
        ({BATCH: 2}, "training", None),  # the rows are on the GPU
        ({BATCH: 2, "use_cpu": True}, "training", {BATCH: 1, ACCUMULATION: 2}),
        ({BATCH: 2, "use_cpu": True}, "start", None),
    ],
)
def test_main_memory(config: dict[str, Any], during: str, settings: dict[str, Any] | None) -> None:
    change = next_setting(config, Failed("main", during=during))
    assert (change and change.settings) == settings


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"stage": "kto"}, "KL term"),
        ({"stage": "dpo", "pref_bco_weight": 0.5}, "BCO"),
        ({"stage": "sft", "moe_aux_loss_coef": 0.01}, "experts"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size"),
        ({"dataloader_drop_last": True}, "dropped"),
    ],
)
def test_a_micro_batch_that_is_part_of_what_is_learnt_stays(config: dict[str, Any], why: str) -> None:
    """It is named, with what it would change, and left to the person."""
    config = {BATCH: 4, "cutoff_len": 1024, **config}
    assert why in why_fixed(config, GPU)
    assert next_setting(config, GPU) is None
    assert [setting for setting, _ in what_is_left(config, GPU)] == [f"{BATCH}=2", "cutoff_len=512"]
    assert why in what_is_left(config, GPU)[0][1]
    assert not why_fixed({"stage": "dpo", "pref_loss": "sigmoid"}, GPU)


def test_the_keys_of_the_catalog_are_those_that_this_reads() -> None:
    fixed = {name for name, method in methods().items() if "" in method.micro_batch}
    assert fixed == {"kto", "ppo"}


def test_nothing_is_left_where_the_model_does_not_fit() -> None:
    assert what_is_left({"cutoff_len": 2048}, replace(GPU, during="start")) == []
    assert what_is_left({"cutoff_len": 128}, GPU) == []
