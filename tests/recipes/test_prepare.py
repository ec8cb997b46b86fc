"""A config is made and checked from files alone; the engine's argument table is replaced by one that takes all keys."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rlguide.catalog.methods import find_method, methods
from rlguide.engine.find import Engine
from rlguide.errors import CheckpointError, UsageError
from rlguide.policy import checkpoint
from rlguide.policy.policy import Policy
from rlguide.policy.run_record import RunRecord, write_record
from rlguide.policy.trained_on import read_fingerprints
from rlguide.policy.value_head import WEIGHT
from rlguide.recipes import data
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.prepare import prepare
from rlguide.runs.training_rows import write_fingerprints
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora, write_model, write_safetensors, write_state
from tests.recipes.conftest import ENGINE, SFT, asked


def test_the_reference_is_the_sft_policy(ws: Workspace) -> None:
    prepared = asked(ws)
    assert prepared.reference == Policy("models/tiny-base", (SFT,), "qwen3_nothink")
    assert prepared.policy == prepared.reference.with_adapter("saves/tiny/lora/dpo")
    assert prepared.config["create_new_adapter"] is True
    assert (prepared.schedule.rows, prepared.schedule.held_out) == (40, 10)
    assert prepared.config["eval_dataset"] == "polite_test" and "val_size" not in prepared.config


def test_rows_that_the_engine_draws_are_counted(ws: Workspace) -> None:
    info = json.loads(ws.dataset_info.read_text())
    info["polite"]["num_samples"] = 7
    info["polite_test"]["num_samples"] = 15  # drawn with repetition
    ws.dataset_info.write_text(json.dumps(info))
    plan = asked(ws, datasets=("polite",)).schedule
    assert (plan.rows, plan.held_out) == (7, 15)


@pytest.mark.parametrize("folder", ["my data sets", "elsewhere/data", "data"])
def test_the_data_is_that_of_the_folder_that_the_engine_reads(ws: Workspace, folder: str) -> None:
    """What another folder holds under the same name is neither counted nor kept as trained on."""
    other = ws.root / folder
    if folder != "data":
        other.mkdir(parents=True)
        rows = [{"instruction": f"other {n}", "chosen": "Yes.", "rejected": "no"} for n in range(7)]
        (other / "seven.json").write_text(json.dumps(rows), encoding="utf-8")
        entry = {**json.loads(ws.dataset_info.read_text())["polite"], "file_name": "seven.json"}
        (other / "dataset_info.json").write_text(json.dumps({"polite": entry}), encoding="utf-8")
    own = ws.root / "own.yaml"
    own.write_text(asked(ws, datasets=("polite",)).text, encoding="utf-8")
    rows_there = 40 if folder == "data" else 7
    prepared = asked(ws, datasets=("polite",), settings={"dataset_dir": folder})
    assert [item.rows for item in prepared.datasets] == [rows_there]
    write_fingerprints(ws, ws.root, {**prepared.config, "val_size": None})
    assert len(read_fingerprints(ws.root) or ()) == rows_there
    own_keys = {"dataset_dir": folder, "eval_dataset": None, "eval_strategy": "no"}
    assert [item.rows for item in asked(ws, config=own, settings=own_keys).datasets] == [rows_there]
    with pytest.raises(UsageError, match="no dataset polite in no such folder"):
        asked(ws, datasets=("polite",), settings={"dataset_dir": "no such folder"})


def test_each_file_is_read_once(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: Counter[str] = Counter()
    read_header, check = checkpoint.read_header, data.check_registered

    def counting_header(path: Path) -> Any:
        reads[path.name] += 1
        return read_header(path)

    def counting_check(workspace: Workspace, names: list[str], wanted: Any) -> Any:
        reads.update(names)
        return check(workspace, names, wanted)

    monkeypatch.setattr(checkpoint, "read_header", counting_header)
    monkeypatch.setattr(data, "check_registered", counting_check)
    asked(ws, sft_ckpt=SFT, datasets=("polite",))
    assert reads == {"adapter_model.safetensors": 1, "model.safetensors": 1, "polite": 1, "polite_test": 1}


@pytest.mark.parametrize("method", [name for name, method in methods().items() if method.data == "pairs"])
def test_a_rendered_config_is_the_same_training_as_a_config_of_ones_own(ws: Workspace, method: str) -> None:
    rendered = asked(ws, method=method, settings={"num_train_epochs": 2.0})
    path = ws.root / "own.yaml"
    path.write_text(rendered.text, encoding="utf-8")
    own = asked(ws, config=path)
    for name in ("config", "method", "schedule", "reference", "policy", "disk_bytes", "datasets", "held_out"):
        assert getattr(own, name) == getattr(rendered, name), name


def test_every_option_has_its_effect(ws: Workspace) -> None:
    prepared = asked(ws, loss="ipo", template="llama3", output_dir="saves/x", settings={"pref_beta": 0.2, "seed": 1})
    wanted = {"pref_loss": "ipo", "template": "llama3", "output_dir": "saves/x", "pref_beta": 0.2, "seed": 1}
    assert wanted.items() <= prepared.config.items()
    assert prepared.policy.template == prepared.reference.template == "llama3"
    full = write_model(ws.root / "saves/tiny/full/sft")
    assert asked(ws, sft_ckpt=str(full), quantization=4).config["quantization_bit"] == 4
    with pytest.raises(UsageError, match="quantization_bit: 8 the SFT stack is merged into one model first"):
        asked(ws, sft_ckpt=SFT, quantization=8)


def test_a_model_that_is_set_by_hand_is_checked_too(ws: Workspace) -> None:
    write_model(ws.root / "models" / "other", hidden=32)
    with pytest.raises(CheckpointError, match="does not fit models/other"):
        asked(ws, settings={"model_name_or_path": "models/other"})
    broken = write_lora(ws.root / "saves/tiny/lora/other")
    (broken / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        asked(ws, sft_ckpt=SFT, settings={"adapter_name_or_path": "saves/tiny/lora/other"})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"settings": {"gradient_accumulation_steps": 0}}, "above 0"),
        ({"settings": {"eval_dataset": "polite"}}, "both trained on and evaluated on"),
        ({"datasets": ("polite", "polite_test")}, "keeps out of training"),
        ({"settings": {"create_new_adapter": False}}, "reference is the base model"),
        ({"output_dir": "saves/a,b"}, "comma"),
        ({"settings": {"simpo_gamma": 1.0}}, "no effect with dpo"),
        ({"template": "qwen33"}, "no template 'qwen33'"),
        ({"datasets": ("polite", "polite")}, "polite is named twice"),
        ({"settings": {"dataset": "polite,polite"}}, "polite is named twice"),
    ],
)
def test_what_would_mislead_is_refused(ws: Workspace, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        asked(ws, **options)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    ("output_dir", "words"),
    [
        (SFT, "is an adapter that it starts from"),
        ("models/tiny-base", "is the base model"),
        ("data", "is the folder of the datasets"),
        (".", "is the workspace itself"),
        ("saves/a,b", "comma"),
    ],
)
def test_no_way_of_naming_the_output_folder_destroys_what_is_read(
    ws: Workspace, output_dir: str, words: str, overwrite: bool
) -> None:
    own = ws.root / "own.yaml"
    own.write_text(asked(ws).text.replace("output_dir: saves/tiny/lora/dpo", f'output_dir: "{output_dir}"'), "utf-8")
    force = {"overwrite_output_dir": overwrite}
    for options in (
        {"output_dir": output_dir, "settings": force},
        {"settings": {**force, "output_dir": output_dir}},
        {"config": own, "settings": force},
        {"config": own, "settings": {**force, "output_dir": output_dir}},
    ):
        with pytest.raises(UsageError, match=words):
            asked(ws, **options)


def test_another_round_goes_into_the_next_folder(ws: Workspace) -> None:
    first = asked(ws)
    run = write_lora(ws.root / first.output_dir)
    record = RunRecord(
        status="finished", base="models/tiny-base", template="qwen3_nothink", stack=(SFT, first.output_dir)
    )
    write_record(run, record)
    second = asked(ws, from_run=first.output_dir)
    assert second.output_dir == "saves/tiny/lora/dpo-2"
    (run / "config.yaml").write_text("default_system: Be brief, it's late.\nenable_thinking: false\n", "utf-8")
    told = [note for note in asked(ws, from_run=first.output_dir).notes if "was trained with" in note]
    assert [note.split(": ")[0].rpartition(" ")[2] for note in told] == ["default_system", "enable_thinking"]
    given = dict(shlex.split(note.rpartition("--set ")[2])[0].split("=") for note in told)
    assert given == {"default_system": "Be brief, it's late.", "enable_thinking": "False"}
    assert second.reference.adapters == (SFT, first.output_dir)
    assert asked(ws, sft_ckpt=SFT, settings={"overwrite_output_dir": True}).output_dir == first.output_dir
    assert asked(ws, sft_ckpt=SFT, loss="ipo").output_dir == "saves/tiny/lora/dpo-ipo"
    with pytest.raises(UsageError, match="is an adapter that it starts from"):
        asked(ws, from_run=first.output_dir, output_dir=first.output_dir)


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("method", [name for name in methods() if name != "ppo"])
def test_a_dry_run_writes_nothing_and_tells_the_same(
    ws: Workspace, method: str, outside: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ws.data / ".old.lock").touch()
    if outside:  # the file of the dataset lies beside the data folder
        (ws.data / "polite.json").rename(ws.root / "polite.json")
        info = json.loads(ws.dataset_info.read_text())
        info["polite"]["file_name"] = "../polite.json"
        ws.dataset_info.write_text(json.dumps(info))
    before = files(ws.root)
    monkeypatch.setattr("tempfile.tempdir", str(ws.root.parent))
    start: dict[str, Any] = {"base": "models/tiny-base"} if methods()[method].from_base else {}
    dry = asked(ws, method=method, datasets=("polite",), **start)
    assert files(ws.root) == before
    assert not list(ws.root.parent.glob("rlguide-dry-run-*"))
    real = prepare(ws, ENGINE, TrainingOptions(method=method, datasets=("polite",), **start))
    assert (files(ws.root) != before) == (method in ("kto", "sft"))
    for name in ("config", "schedule", "reference", "policy", "text", "notes"):
        assert getattr(dry, name) == getattr(real, name), name


@pytest.mark.parametrize("name", ["kto", "ppo"])
def test_a_dry_run_leaves_no_view(ws: Workspace, name: str) -> None:
    """Also for PPO, whose engine is another one."""
    before, method = files(ws.root), find_method(name)
    dry = data.choose_data(ws, method, ("polite",), {}, True, dry_run=True)
    assert files(ws.root) == before
    real = data.choose_data(ws, method, ("polite",), {}, True, dry_run=False)
    assert files(ws.root) != before, "there was a view to make"
    assert [(item.name, item.rows) for item in (*dry.train, *dry.held_out)] == [
        (item.name, item.rows) for item in (*real.train, *real.held_out)
    ]


def files(root: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else None for path in root.rglob("*")}


def test_the_default_folder_is_never_within_what_it_starts_from(ws: Workspace) -> None:
    for name in ("saves/tiny-base", "saves/other"):
        write_model(ws.root / name)
        write_state(ws.root / name, [{"loss": 1.0, "step": 10}])
        assert asked(ws, sft_ckpt=name).output_dir == f"{name}-tuned/lora/dpo"


def test_a_quantized_run_counts_on(ws: Workspace) -> None:
    full = write_model(ws.saves / "tiny/full/sft")
    finished = write_lora(ws.saves / "tiny/lora/dpo")
    write_record(finished, RunRecord(status="finished"))
    assert asked(ws, sft_ckpt=str(full), quantization=4).output_dir == "saves/tiny/lora/dpo-2"


def test_the_header_names_the_file_that_it_stands_in(ws: Workspace) -> None:
    prepared = asked(ws)
    own = prepared.text_in("configs/mein vergleich.yaml")
    assert "rlguide train --config 'configs/mein vergleich.yaml'" in own
    assert "dpo_config" not in own
    command = next(line for line in prepared.text.splitlines() if "rlguide train" in line).removeprefix("#").split()
    assert command[:4] == ["rlguide", "train", "--config", "saves/tiny/lora/dpo/config.yaml"]
    path = ws.root / command[3]
    path.parent.mkdir(parents=True)
    path.write_text(prepared.text, encoding="utf-8")
    write_lora(path.parent)
    again = asked(ws, config=path, output_dir=command[5])  # what the header says works beside the finished run
    assert again.output_dir != prepared.output_dir


def test_ppo_takes_no_reward_model_without_its_value_head(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"llamafactory": "0.9.3", "trl": "0.9.6"}
    monkeypatch.setattr("rlguide.recipes.prepare.engine_for", lambda *_: Engine(Path("/nowhere/python"), versions))
    folder = write_lora(ws.saves / "rm")
    write_record(folder, RunRecord(method="rm", base="models/tiny-base", stack=(SFT, "saves/rm"), config={}))
    with pytest.raises(CheckpointError, match="its scores would be random"):
        asked(ws, method="ppo", reward_model="saves/rm", template="llama3")
    write_safetensors(folder / "value_head.safetensors", {WEIGHT: (1, 16)})
    assert asked(ws, method="ppo", reward_model="saves/rm", template="llama3").config["reward_model"] == "saves/rm"


def test_a_reward_model_is_no_start(ws: Workspace) -> None:
    write_safetensors(write_lora(ws.saves / "rm") / "value_head.safetensors", {"v": (1,)})
    with pytest.raises(CheckpointError, match="is a reward model, not a policy"):
        asked(ws, sft_ckpt="saves/rm")
