"""SFT as a method: it starts from a base model, on responses or on the chosen ones of pairs."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from rlguide.catalog.methods import SFT_COMMAND
from rlguide.data.ingest.options import IngestOptions
from rlguide.data.ingest.register import register_path
from rlguide.errors import CheckpointError, DataError, UsageError
from rlguide.policy.checkpoint import read_checkpoint, resolve_checkpoint
from rlguide.policy.policy import Policy
from rlguide.policy.run_record import RunRecord, write_record
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.prepare import prepare
from rlguide.runs.diagnosis.first_step import check_start, first_loss
from rlguide.workspace import Workspace
from tests.policy.checkpoint_files import write_lora
from tests.recipes.conftest import ENGINE, SFT, asked

BASE = "models/tiny-base"


def sft(ws: Workspace, **options: Any) -> Any:
    return asked(ws, method="sft", **options)


def test_a_base_model_is_trained_on_the_chosen_responses_of_pairs(ws: Workspace) -> None:
    prepared = sft(ws, base=BASE, datasets=("polite",))
    assert prepared.reference == Policy(BASE, (), "qwen3_nothink")
    assert prepared.policy == Policy(BASE, ("saves/tiny-base/lora/sft",), "qwen3_nothink")
    config = prepared.config
    assert (config["stage"], config["dataset"], config["eval_dataset"]) == ("sft", "polite_sft", "polite_sft_test")
    assert (config["learning_rate"], config["num_train_epochs"], config["train_on_prompt"]) == (1e-4, 3.0, False)
    assert not {"adapter_name_or_path", "create_new_adapter", "pref_loss", "pref_beta", "pref_ftx"} & set(config)
    assert (prepared.schedule.rows, prepared.schedule.held_out, prepared.schedule.unit) == (40, 10, "examples")


def test_the_view_shows_the_same_file(ws: Workspace) -> None:
    """No second copy of the data: an entry with the chosen response as the response, and the held-out rows likewise."""
    before = sorted(path.name for path in ws.data.iterdir())
    prepare(ws, ENGINE, TrainingOptions(method="sft", base=BASE, datasets=("polite",)))
    assert sorted(path.name for path in ws.data.iterdir() if not path.name.startswith(".")) == before
    info = json.loads(ws.dataset_info.read_text())
    for name, file in (("polite_sft", "polite.json"), ("polite_sft_test", "polite_test.json")):
        assert (info[name]["file_name"], info[name]["ranking"]) == (file, False)
        assert info[name]["columns"] == {"prompt": "instruction", "response": "chosen"}
    assert sft(ws, base=BASE).config["dataset"] == "polite_sft", "the view is no dataset of its own"


def test_a_hub_model_needs_no_folder(ws: Workspace) -> None:
    prepared = sft(ws, base="Qwen/Qwen3-4B-Base", template="qwen3_nothink")
    assert prepared.reference == Policy("Qwen/Qwen3-4B-Base", (), "qwen3_nothink")
    assert prepared.output_dir == "saves/qwen3-4b-base/lora/sft"
    assert any("not on this machine yet" in note for note in prepared.notes)


def test_what_cannot_stack_adapters_has_nothing_to_merge(ws: Workspace) -> None:
    prepared = sft(ws, base=BASE, quantization=4)
    assert prepared.config["quantization_bit"] == 4 and prepared.reference == Policy(BASE, (), "qwen3_nothink")
    with pytest.raises(UsageError, match="merged into one model first"):
        sft(ws, sft_ckpt=SFT, quantization=4)


def test_a_whole_model_goes_to_a_folder_of_its_own(ws: Workspace) -> None:
    prepared = sft(ws, base=BASE, settings={"finetuning_type": "full", "learning_rate": 1e-5})
    assert prepared.output_dir == "saves/tiny-base/full/sft"
    assert prepared.policy == Policy("saves/tiny-base/full/sft", (), "qwen3_nothink")


@pytest.mark.parametrize("start", [{"sft_ckpt": SFT}, {"sft_ckpt": "latest"}, {"sft_ckpt": SFT, "base": BASE}])
def test_it_goes_on_from_a_checkpoint(ws: Workspace, start: dict[str, str]) -> None:
    prepared = sft(ws, **start)
    assert prepared.reference.adapters == (SFT,)
    assert prepared.config["create_new_adapter"] is True
    assert prepared.policy.adapters == (SFT, "saves/tiny/lora/sft-2")


def test_without_a_start_it_says_how_to_name_one(ws: Workspace) -> None:
    with pytest.raises(UsageError, match="sft starts from a base model, and none is named") as error:
        sft(ws)
    assert "--base Qwen/Qwen3-4B-Base" in error.value.fix
    with pytest.raises(CheckpointError, match="is an adapter, not a base model") as error:
        sft(ws, base=SFT)
    assert f"--sft-ckpt {SFT}" in error.value.fix
    with pytest.raises(CheckpointError, match="does not exist"):
        sft(ws, base="models/nothing")


def test_what_it_leaves_is_an_sft_checkpoint(ws: Workspace) -> None:
    """`--sft-ckpt latest` takes it, and DPO on top has it as the reference."""
    prepared = sft(ws, base=BASE)
    path = write_lora(ws.root / prepared.output_dir)
    (ws.root / SFT / "adapter_model.safetensors").unlink()  # else it may be as new
    record = RunRecord(method="sft", status="finished", base=BASE, stack=prepared.policy.adapters, template="llama3")
    write_record(path, record)
    assert read_checkpoint(path, ws).stage == "sft"
    assert resolve_checkpoint(ws, "latest").path == path
    on_top = asked(ws, sft_ckpt="latest")
    assert on_top.reference == Policy(BASE, ("saves/tiny-base/lora/sft",), "llama3")
    assert on_top.output_dir == "saves/tiny-base/lora/dpo"


def test_a_file_of_instructions_and_outputs_is_registered_for_it(ws: Workspace) -> None:
    rows = [{"instruction": f"Say {n}.", "input": "", "output": f"{n}"} for n in range(50)]
    file = ws.root / "instructions.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    register_path(ws, file, IngestOptions(test_size=0.2))
    prepared = sft(ws, base=BASE, datasets=("instructions",))
    assert (prepared.config["dataset"], prepared.config["eval_dataset"]) == ("instructions", "instructions_test")
    assert prepared.schedule.rows + prepared.schedule.held_out == 50
    both = sft(ws, base=BASE, datasets=("instructions", "polite"))
    assert both.config["dataset"] == "instructions,polite_sft"
    with pytest.raises(DataError, match="single responses, not pairs") as error:
        asked(ws, datasets=("instructions",))
    assert error.value.fix.endswith(f"{SFT_COMMAND} --dataset instructions")
    with pytest.raises(UsageError, match="several datasets"):
        sft(ws, base=BASE)


@pytest.mark.parametrize("lacking", ["input", "output"])
def test_an_entry_of_somebody_else_has_the_engines_default_columns(ws: Workspace, lacking: str) -> None:
    """Without "columns" LLaMA-Factory reads instruction, input and output, and fails on a file without one of them."""
    info = json.loads(ws.dataset_info.read_text())
    info["theirs"] = {"file_name": "theirs.json"}
    ws.dataset_info.write_text(json.dumps(info))
    row = {"instruction": "q", "input": "", "output": "a"}
    (ws.data / "theirs.json").write_text(json.dumps([{key: row[key] for key in row if key != lacking}]))
    with pytest.raises(DataError, match=f"has no column {lacking}"):
        sft(ws, base=BASE, datasets=("theirs",))
    (ws.data / "theirs.json").write_text(json.dumps([row] * 20))
    assert sft(ws, base=BASE, datasets=("theirs",)).config["dataset"] == "theirs"


def test_labels_are_refused(ws: Workspace) -> None:
    """The engine would drop each of them (converter.py makes two responses of one with a kto_tag)."""
    info = json.loads(ws.dataset_info.read_text())
    columns = {"prompt": "p", "response": "r", "kto_tag": "good"}
    info["thumbs"] = {"file_name": "thumbs.json", "columns": columns}
    ws.dataset_info.write_text(json.dumps(info))
    (ws.data / "thumbs.json").write_text(json.dumps([{"p": "q", "r": "a", "good": n % 2 == 0} for n in range(20)]))
    with pytest.raises(DataError, match="holds labelled responses") as error:
        sft(ws, base=BASE, datasets=("thumbs",))
    assert "--method kto" in error.value.fix


def test_a_config_of_ones_own_is_the_same_training(ws: Workspace) -> None:
    rendered = prepare(ws, ENGINE, TrainingOptions(method="sft", base=BASE))
    path = ws.root / "own.yaml"
    path.write_text(rendered.text, encoding="utf-8")
    own = asked(ws, config=path)
    for name in ("config", "method", "schedule", "reference", "policy", "disk_bytes", "datasets", "held_out"):
        assert getattr(own, name) == getattr(rendered, name), name
    path.write_text(rendered.text.replace("polite_sft", "polite"), encoding="utf-8")
    with pytest.raises(DataError, match="stage sft refuses those") as error:
        asked(ws, config=path)
    assert "rlguide view polite --use sft" in error.value.fix


def test_the_config_says_what_sft_is(ws: Workspace) -> None:
    text = sft(ws, base=BASE).text
    assert "### model: what is trained\n" in text
    assert "pair" not in text.split("### output")[0].replace("polite", "").lower()
    for words in (
        "imitates the given responses",
        "Start: models/tiny-base.",
        "Off, so that the model learns to respond",
    ):
        assert words in " ".join(text.replace("# ", "").split())


@pytest.mark.parametrize(("rate", "warned"), [(1e-4, False), (1e-3, False), (6e-2, True), (3e-7, True)])
def test_a_rate_far_out_of_its_own_range_is_said(ws: Workspace, rate: float, warned: bool) -> None:
    """Not of that of preference tuning, which is a tenth of it."""
    notes = [note for note in sft(ws, base=BASE, settings={"learning_rate": rate}).notes if "learning_rate" in note]
    assert bool(notes) is warned
    assert all("5.0e-5 to 5.0e-4" in note for note in notes)
    assert "Sensible range: 5.0e-5 to 5.0e-4." in " ".join(sft(ws, base=BASE).text.replace("\n# ", " ").split())


@pytest.mark.parametrize("key", ["pref_beta=0.1", "simpo_gamma=1.0", "kto_chosen_weight=2.0", "use_asft_loss=true"])
def test_keys_of_other_methods_are_refused(ws: Workspace, key: str) -> None:
    name, _, value = key.partition("=")
    with pytest.raises(UsageError, match=name):
        sft(ws, base=BASE, settings={name: json.loads(value)})


def test_its_first_loss_proves_nothing() -> None:
    assert first_loss({"stage": "sft"}) is None
    assert check_start({"stage": "sft"}, {"loss": 2.5}) is None


def test_the_fixes_name_real_options(ws: Workspace) -> None:
    for folder in (ws.root / SFT).parents[0].iterdir():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    with pytest.raises(CheckpointError, match="no complete SFT checkpoint") as error:
        asked(ws)
    command = shlex.split(error.value.fix.split("`")[1])
    assert command[:2] == ["rlguide", "train"]
    options = dict(zip(command[2::2], command[3::2], strict=True))
    prepared = asked(ws, method=options["--method"], base=options["--base"], template="qwen3_nothink")
    assert prepared.method.name == "sft"
