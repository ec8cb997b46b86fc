"""A plan is arithmetic on a simulated step: what fits, what it takes on several GPUs, what changes, what is fastest."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rlguide.catalog.gpus import parse_gpus
from rlguide.engine.config_file import parse_settings
from rlguide.planner import report, simulation
from rlguide.planner.changes import Change, batches, faster, smaller
from rlguide.planner.learnt import FIXED_BYTES, SHARE
from rlguide.planner.memory import Sharing, memory_of, sharing_of
from rlguide.planner.plan import Plan, plan_all
from rlguide.planner.simulation import Case, _layer_counts, simulate
from rlguide.planner.time import Efficiency
from rlguide.planner.training import Training
from rlguide.workspace import Workspace

from .conftest import GIB, LAYERS, step_of

Make = Callable[..., Training]
GPU = parse_gpus("2xA6000")


def one(ws: Workspace, training: Training, gpus: str = "a6000") -> Plan:
    (plan,) = plan_all(ws, None, [training], parse_gpus(gpus))  # type: ignore[arg-type]
    assert isinstance(plan, Plan)
    return plan


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Workspace(tmp_path)


def test_checkpointing_is_off_where_a_tenth_of_the_gpu_stays_free(
    ws: Workspace, training: Make, simulated: list[Case]
) -> None:
    off = one(ws, training())
    tensors = off.memory.tensors
    assert not off.is_checkpointed and off.fits
    assert off.memory.parts["allowance"] == pytest.approx(FIXED_BYTES + SHARE * tensors, abs=1)
    just = off.memory.peak / 0.9 / GIB
    assert not one(ws, training(), f"{just + 0.1:.2f}GB").is_checkpointed
    on = one(ws, training(), f"{just - 0.1:.2f}GB")
    assert on.is_checkpointed and on.fits and "without it" in on.why
    assert one(ws, training(is_plain=True)).is_checkpointed
    assert not one(ws, training(is_plain=True, disable_gradient_checkpointing=True)).is_checkpointed
    assert one(ws, training(), "1GB").fits is False


def test_the_longest_examples_are_simulated_and_one_is_padded(
    ws: Workspace, training: Make, simulated: list[Case]
) -> None:
    one(ws, training())
    assert {case.lengths for case in simulated} == {((16, 100, 84), (16, 100, 83))}
    assert [case.is_checkpointed for case in simulated] == [False, True]


def test_work_counts_each_pass_over_each_example(ws: Workspace, training: Make, simulated: list[Case]) -> None:
    # 13 steps of 8 are 104 pairs an epoch; alone they have 2 x 48 and 2 x 16 tokens, 32 of a side on average.
    alone = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    plan = one(ws, training(**alone))
    assert plan.examples == 312 and plan.tokens == 312 * 2 * 32
    token, square = 1e9 * 2 * 32, 1e3 * 2 * (48**2 + 16**2) / 2
    passes = 312 + 100 + 312  # the reference scores each of the 100 pairs once
    assert plan.work.flops == pytest.approx(passes * (token + square))
    assert plan.work.layer_passes == LAYERS * passes
    plain = one(ws, training(is_plain=True, **alone))
    assert plain.work.flops == pytest.approx(3 * 312 * (token + square))
    assert plain.work.layer_passes == LAYERS * (312 * 4)  # checkpointed: forward once more
    two = one(ws, training())
    assert 312 * 2 * 32 < two.tokens < 312 * 2 * 48  # padded to the longer of two


def test_time_is_operations_over_what_gpus_reach(ws: Workspace, training: Make, simulated: list[Case]) -> None:
    measured = Efficiency(0.5, 0.5, 0.5, "measured", runs=3)
    shared = replace(training(), schedule=replace(training().schedule, processes=2))
    one_gpu, two = (
        one(ws, training(), "a6000").time(measured),
        one(ws, shared, "2xa6000").time(replace(measured, count=2)),
    )
    assert one_gpu and two and one_gpu.mid == pytest.approx(2 * two.mid)
    plan = one(ws, training())
    assert one_gpu.mid == pytest.approx(plan.work.flops / (plan.gpus.model.peak("bf16") * 0.5))  # type: ignore


def test_the_gpus_are_those_of_the_processes_that_train(ws: Workspace, training: Make, simulated: list[Case]) -> None:
    """NPROC_PER_NODE and NNODES say how many: one of two GPUs here, or all of two machines."""
    for processes in (1, 4):
        plan = one(ws, replace(training(), schedule=replace(training().schedule, processes=processes)), "2xa6000")
        assert plan.gpus is not None and plan.gpus.count == plan.sharing.count == processes


@pytest.mark.parametrize(
    ("keys", "times"),
    [
        ({}, 0),
        ({"eval_strategy": "steps", "eval_steps": 10}, 3),
        ({"eval_strategy": "steps", "eval_steps": 0.1}, 9),  # each 4 of 39 steps: transformers rounds up
        ({"eval_strategy": "epoch"}, 3),
        ({"eval_strategy": "epoch", "eval_on_start": True}, 4),
        ({"eval_strategy": "no"}, 0),
    ],
)
def test_evaluations_are_counted(
    ws: Workspace, training: Make, simulated: list[Case], keys: dict[str, Any], times: int
) -> None:
    alone = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8, "stage": "rm", "method": "rm"}
    held = replace(training(**keys, **alone), schedule=replace(training().schedule, held_out=50))
    assert one(ws, held).work.layer_passes == LAYERS * (2 * 312 + times * 50)


@pytest.mark.parametrize("keys", [{"per_device_train_batch_size": 10**6}, {"longest": (10**9, 1, 1)}])
def test_what_is_too_large_to_simulate_is_said(ws: Workspace, training: Make, keys: dict[str, Any]) -> None:
    longest = keys.pop("longest", (16, 100, 84))
    asked = training(**keys)
    (said,) = plan_all(ws, None, [replace(asked, lengths=replace(asked.lengths, longest=longest))], GPU)  # type: ignore
    assert isinstance(said, str) and "the most that is simulated" in said


def test_gpus_share_what_ddp_zero_and_fsdp_share(tmp_path: Path) -> None:
    def parts(sharing: Sharing) -> dict[str, int]:
        step = step_of(Case({}, {}, ((16, 100, 84),), False, True))
        return {kind: size * 1000 // GIB for kind, size in memory_of(step, sharing, None).parts.items()}

    def zero(stage: int, **more: Any) -> Sharing:
        (tmp_path / "ds.json").write_text(json.dumps({"zero_optimization": {"stage": stage, **more}}))
        return sharing_of({"deepspeed": "ds.json"}, 2, tmp_path)

    assert parts(sharing_of({}, 1, tmp_path)) == {
        "weights": 1000,
        "gradients": 125,
        "optimizer": 250,
        "activations": 2399,
    }
    assert parts(sharing_of({}, 2, tmp_path))["exchange"] == 125
    assert parts(zero(2)) | {"activations": 0} == {
        "weights": 1000, "gradients": 62, "optimizer": 125, "activations": 0, "exchange": 125
    }  # fmt: skip
    assert parts(zero(3))["weights"] == 500
    assert "optimizer" not in parts(zero(2, offload_optimizer={"device": "cpu"}))
    full = sharing_of({"fsdp": "full_shard auto_wrap"}, 4, tmp_path)
    assert (full.name, parts(full)["weights"]) == ("FSDP", 250)
    assert sharing_of({"fsdp": ["full_shard", "auto_wrap"]}, 4, tmp_path) == full
    assert sharing_of({"fsdp": "hybrid_shard auto_wrap"}, 4, tmp_path) == full
    assert parts(sharing_of({"fsdp": "no_shard"}, 2, tmp_path)) == parts(sharing_of({}, 2, tmp_path))
    for damaged in (
        "not JSON",
        "[]",
        '{"zero_optimization": 3}',
        '{"zero_optimization": {"stage": 1e999}}',
        "[" * 10**5,
    ):
        (tmp_path / "ds.json").write_text(damaged)
        assert sharing_of({"deepspeed": "ds.json"}, 2, tmp_path) == Sharing("DeepSpeed", 2)
    (tmp_path / "ds.json").unlink()
    os.mkfifo(tmp_path / "ds.json")  # which nobody writes into
    assert sharing_of({"deepspeed": "ds.json"}, 2, tmp_path) == Sharing("DeepSpeed", 2)


def test_smaller_settings_keep_the_batch_first_and_say_what_they_change(training: Make) -> None:
    changes = smaller(training())
    assert changes[0].settings == {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    assert changes[0].learns == "" and all(change.learns for change in changes[1:])
    assert [change.settings.get("quantization_bit") for change in changes[1:]] == [4, 4, 4]
    assert changes[-1].settings["cutoff_len"] == 512
    assert changes[-1].of(training()).lengths.longest == (16, 100, 84)  # below 512 already
    assert max(changes[-1].of(training(cutoff_len=64)).lengths.longest[1:]) == 100
    for change in changes:
        given = parse_settings([option for option in change.options if option != "--set"])
        assert given == change.settings
    full = smaller(training(finetuning_type="full", cutoff_len=2048))[1:]
    assert [change.settings["finetuning_type"] for change in full] == ["lora"] * 4
    assert [change.settings.get("quantization_bit") for change in full] == [None, 4, 4, 4]
    assert [change.what for change in full][1:3] == [
        "LoRA, a base of 4 bits",
        "LoRA, a base of 4 bits, cutoff_len 1024",
    ]
    galore = smaller(training(finetuning_type="full", use_galore=True))
    assert [change.settings.get("use_galore") for change in galore[:2]] == [None, False]
    assert "an adapter" in full[-1].learns and "QLoRA" in full[-1].learns and full[-1].learns.count("tokens") == 1


def test_methods_whose_loss_is_a_mean_of_the_micro_batch_keep_it(training: Make) -> None:
    assert batches(training()) == [(1, 8), (2, 4), (4, 2), (8, 1)]
    assert batches(training(stage="kto", method="kto")) == []
    assert all(change.learns for change in smaller(training(stage="kto", method="kto")))
    assert [change.learns for change in faster(training(stage="kto", method="kto"))] == ["the order of examples"]
    liger = faster(training(), has_liger=True)
    assert sum("Liger" in change.what for change in liger) == 4 and all(
        change.learns for change in liger if "enable_liger_kernel" in change.settings
    )


def test_what_does_not_fit_is_told_with_the_command_that_does(
    ws: Workspace, training: Make, simulated: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ["--set", "per_device_train_batch_size=2", "-sgradient_accumulation_steps=4", "--set=bf16=true"]
    monkeypatch.setattr(
        "sys.argv", ["rlguide", "plan", *before, "--gpus", "5GB", "-s", "gradient_accumulation_steps =3"]
    )
    plan = one(ws, training(), "5GB")
    assert plan.fits is False
    fix = report.smallest_fix(ws, None, plan)  # type: ignore[arg-type]
    assert fix.startswith(
        "rlguide plan --set=bf16=true --gpus 5GB --set per_device_train_batch_size=1 "
        "--set gradient_accumulation_steps=8    # "
    )
    assert shlex.split(fix, comments=True)[-1] == "gradient_accumulation_steps=8"  # what a shell makes of the line
    assert "nothing here fits" in report.smallest_fix(ws, None, one(ws, training(), "1GB"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "quantizes"),
    [
        ("plan --config a.yaml", True),
        ("--debug plan -c a.yaml", True),
        ("configure --sft-ckpt latest", True),
        ("train --sft-ckpt latest", True),
        ("train --sft-ckpt latest --dry-run", False),
        ("train --config a.yaml", False),
        ("train -ca.yaml", False),
    ],
)
def test_a_base_of_4_bits_is_only_offered_where_the_adapter_will_be_merged(
    ws: Workspace, training: Make, simulated: list[Case], monkeypatch: pytest.MonkeyPatch, command: str, quantizes: bool
) -> None:
    monkeypatch.setattr("sys.argv", ["rlguide", *command.split()])
    alone = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1}
    plan = one(ws, training(adapter_name_or_path="saves/sft", **alone), "4.5GB")
    assert plan.fits is False
    fix = report.smallest_fix(ws, None, plan)  # type: ignore[arg-type]
    assert ("quantization_bit=4" in fix) == quantizes
    assert smaller(plan.training, merges=False)[0].settings == {"cutoff_len": 1024}
    assert smaller(training(**alone), merges=False)[0].settings == {"quantization_bit": 4}  # nothing to merge


def test_the_fastest_that_learns_the_same_is_chosen(ws: Workspace, training: Make, simulated: list[Case]) -> None:
    engine: Any = SimpleNamespace(versions={})
    rows = report.fastest(ws, engine, one(ws, training()))
    (chosen,) = [row for row in rows if row["chosen"]]
    assert chosen["learns"] == "" and chosen["options"][:2] == ["--set", "per_device_train_batch_size=8"]
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)
    assert len(rows) <= report.BEST and "* learns the same: --set" in report.fastest_lines(rows)[-1]
    assert Change().of(training()) == training()
    nothing = report.fastest(ws, engine, one(ws, training(), "1GB"))
    said = report.lines({**report.values(one(ws, training(), "1GB")), "fastest": nothing})
    assert nothing == [] and said[-1].startswith("fastest    none")


@pytest.mark.parametrize(
    ("model", "counts"),
    [
        ({"num_hidden_layers": 36}, (2, 3)),
        ({"num_hidden_layers": 3}, (3,)),
        ({"num_hidden_layers": 26, "layer_types": ["sliding_attention", "full_attention"] * 13}, (2, 4)),
        ({"num_hidden_layers": 27, "first_k_dense_replace": 1}, (2, 3)),
        ({"num_hidden_layers": 30, "layer_types": ["a"] * 29 + ["b"]}, (30,)),
        ({}, ()),
        ({"num_hidden_layers": "many"}, ()),
        ({"num_hidden_layers": [36]}, ()),
        ({"num_hidden_layers": True}, ()),
        ({"num_hidden_layers": -3}, ()),
        ({"num_hidden_layers": 10**12}, ()),
        ({"num_hidden_layers": 36, "sliding_window_pattern": "six", "first_k_dense_replace": [1]}, (2, 3)),
        ({"num_hidden_layers": 36, "decoder_sparse_step": -9, "layer_types": "full"}, (2, 3)),
    ],
)
def test_layers_are_simulated_by_rounds_of_their_pattern(model: dict[str, Any], counts: tuple[int, ...]) -> None:
    assert _layer_counts(model) == counts


def test_a_model_without_layers_is_not_simulated() -> None:
    engine: Any = SimpleNamespace(versions={})
    (said,) = simulate(engine, [Case({}, {"model_type": "gpt2"}, ((1, 1),), False, True)])
    assert isinstance(said, str) and "num_hidden_layers" in said


@pytest.mark.parametrize(("gpus", "count"), [("48GB", 2), ("1GB", 4)])
def test_no_more_is_simulated_than_decides(
    ws: Workspace, training: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, gpus: str, count: int
) -> None:
    """Two counts of layers of the step without checkpointing; where that does not fit, also of the step with it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told = []

    def answers(engine: Any, items: list[dict[str, Any]]) -> Any:
        for item in items:
            told.append(item["is_checkpointed"])
            done = {part: {"flops": 1.0, "attention": 1.0, "bytes": 1.0, "operations": 1.0} for part in ("policy",)}
            peaks = {"step": {"activations": item["layers"] << 28}}
            yield {"peaks": peaks, "done": done, "parameters": 9, "trained": 9, "optimizer": 9}

    monkeypatch.setattr(simulation, "_answers", answers)
    engine: Any = SimpleNamespace(versions={})
    plans = plan_all(ws, engine, [training()], parse_gpus(gpus))
    assert isinstance(plans[0], Plan) and plans[0].is_checkpointed is (count == 4)
    assert told == [False, False, True, True][:count]


def test_lines_hold_the_values(ws: Workspace, training: Make, simulated: list[Case]) -> None:
    values = report.values(one(ws, training()), disk=10**9)
    text = "\n".join(report.lines(json.loads(json.dumps(values))))
    for part in ("of 48.0 GiB on each GPU at the peak: fits", "312 pairs, 39 steps of 8", "1.0 GB", "weights", "kWh"):
        assert part in text
    assert sum(values["memory"].values()) == values["peak"]
    assert report.duration(59) == "59 s" and report.duration(7200) == "2.0 hours" and report.duration(90) == "1.5 min"
