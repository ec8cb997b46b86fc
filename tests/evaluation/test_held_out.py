"""Which pairs count as held out: none whose prompt any run of the stack was trained on. No engine is needed."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlguide.data.example import HUMAN, Turn
from rlguide.data.ingest.views import view
from rlguide.data.store.prompts import fingerprint, prompt_fingerprints
from rlguide.data.store.reading import read_examples
from rlguide.engine.config_file import split_names
from rlguide.errors import RlguideError, UsageError
from rlguide.evaluation.config import eval_config
from rlguide.evaluation.held_out import held_out_keys, leave_out_trained
from rlguide.policy.policy import Policy
from rlguide.policy.trained_on import FINGERPRINTS, read_fingerprints, trained_on, write_numbers
from rlguide.runs.record import Run, open_run
from rlguide.runs.training_rows import split_rows, write_fingerprints
from rlguide.workspace import Workspace
from tests.cli.command import run as rlguide
from tests.policy.checkpoint_files import write_lora, write_model, write_state

PROMPTS = [f"Prompt number {index}?" for index in range(40)]


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    """A workspace with 40 pairs, of which 8 are held out."""
    root = tmp_path / "我的 project"
    (root / "data").mkdir(parents=True)
    workspace = Workspace(root)
    register(workspace, "pairs", PROMPTS, "--test-size", "0.2")
    return workspace


def register(ws: Workspace, name: str, prompts: list[str], *options: str) -> None:
    file = ws.root / f"{name}.jsonl"
    rows = [{"instruction": prompt, "chosen": f"good {prompt}", "rejected": f"bad {prompt}"} for prompt in prompts]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert rlguide("register", str(file), "--name", name, "-w", str(ws.root), "--force", *options) == 0


def train(ws: Workspace, name: str, below: tuple[str, ...] = ("saves/sft",), **values: Any) -> Run:
    """The record of a finished run, and the fingerprints that it would have left."""
    folder = ws.root / "saves" / name
    folder.mkdir(parents=True)
    config = {"stage": "dpo", "dataset": "pairs", "dataset_dir": "data", "template": "qwen3", **values}
    record = {
        "method": config["stage"],
        "status": "finished",
        "base": "models/base",
        "stack": [*below, f"saves/{name}"],
        "reference": {"base": "models/base", "adapters": list(below)},
        "config": config,
    }
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    write_fingerprints(ws, folder, config)
    return open_run(ws, f"saves/{name}")


def evaluated(ws: Workspace, run: Run, *datasets: str, **settings: Any) -> list[str]:
    """The prompts that an evaluation of the run would score."""
    config, count = leave_out_trained(
        ws, run, eval_config(ws, run, list(datasets), settings), trained_on(ws, run.policy, run.reference)
    )
    folder = ws.root / config["dataset_dir"]
    assert "val_size" not in config or config["val_size"] is None
    names = split_names(config["eval_dataset"])
    found = [pair.messages[0].value for name in names for pair in read_examples(Workspace(folder.parent), name)]
    assert len(found) == count
    return found


def prompts_of(ws: Workspace, name: str) -> set[str]:
    return {example.messages[0].value for example in read_examples(ws, name)}


def test_the_pairs_that_were_held_out_stay_as_they_are(ws: Workspace) -> None:
    run = train(ws, "dpo", eval_dataset="pairs_test")
    assert set(evaluated(ws, run)) == prompts_of(ws, "pairs_test")
    assert not (run.path / "eval").exists()


def test_a_dataset_that_was_registered_anew_with_another_split(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(ws, "dpo", eval_dataset="pairs_test")
    trained = prompts_of(ws, "pairs")
    register(ws, "pairs", [*PROMPTS[::-1], "One more?"], "--test-size", "0.75")
    held_out = prompts_of(ws, "pairs_test")
    assert held_out & trained
    assert set(evaluated(ws, run)) == held_out - trained
    assert f"left out   {len(held_out & trained)} of {len(held_out)} pairs" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["kto", "ppo"])
def test_pairs_that_were_trained_on_through_a_view(ws: Workspace, stage: str) -> None:
    shown = view(ws, "pairs", stage)  # type: ignore[arg-type]
    run = train(ws, stage, stage=stage, dataset=shown)
    with pytest.raises(UsageError, match="was trained on: none of its 32 pairs"):
        evaluated(ws, run, "pairs")
    assert set(evaluated(ws, run)) == prompts_of(ws, "pairs_test")  # traced back to what its pairs hold out


@pytest.mark.parametrize("stage", ["dpo", "rm"])
def test_val_size_with_max_samples(ws: Workspace, stage: str) -> None:
    register(ws, "plain", PROMPTS, "--test-size", "0")
    run = train(ws, "run", stage=stage, dataset="plain", val_size=0.25, max_samples=20, seed=7)
    order = np.random.default_rng(7).permutation(20)
    rows = [example.messages[0].value for example in read_examples(ws, "plain")]
    assert set(evaluated(ws, run)) == {rows[at] for at in order[:5]}
    trained = read_fingerprints(run.path)
    assert trained is not None
    assert sorted(fingerprint((Turn(HUMAN, rows[at]),)) for at in order[5:]) == list(trained)
    with pytest.raises(UsageError, match="cannot be told"):
        evaluated(ws, train(ws, "other", dataset="plain", val_size=0.25, streaming=True))


def test_equal_prompts_on_both_sides_of_a_val_size_draw(ws: Workspace) -> None:
    """The engine draws rows, not prompts: what it holds out may have been trained on all the same."""
    register(ws, "twice", ["Only one prompt?"] * 9 + ["Another?"], "--test-size", "0")
    run = train(ws, "dpo", dataset="twice", val_size=5)
    left = set()
    try:
        left = set(evaluated(ws, run))
    except UsageError as error:
        assert "was trained on" in error.what
    assert "Only one prompt?" not in left


def test_a_round_below_trained_on_them(ws: Workspace) -> None:
    register(ws, "more", [*PROMPTS[:6], *(f"New {index}" for index in range(6))], "--test-size", "0")
    register(ws, "third", ["Something else?"], "--test-size", "0")
    train(ws, "first", dataset="more")
    second = train(ws, "second", ("saves/sft", "saves/first"), dataset="third")
    assert set(evaluated(ws, second, "pairs")) == prompts_of(ws, "pairs") - set(PROMPTS[:6])


def test_a_round_below_that_was_merged(ws: Workspace) -> None:
    train(ws, "first")
    merged = ws.root / "saves/merged"
    merged.mkdir()
    merged.joinpath("rlguide.json").write_text(
        json.dumps({"base": "models/base", "adapters": [{"path": "saves/first", "sha256": "0"}]})
    )
    asked = next(prompt_fingerprints(ws, "pairs"))
    assert asked in trained_on(ws, Policy("saves/merged", ()))
    shutil.rmtree(ws.root / "saves/first")
    assert trained_on(ws, Policy("saves/merged", ())).unchecked == ("saves/first",)


def test_what_was_trained_outside_has_no_record(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    run = train(ws, "dpo", eval_dataset="pairs_test")
    write_lora(ws.root / "saves/sft")
    note = "the SFT adapter saves/sft has no record of its training prompts: pairs that it saw cannot be left out"
    assert trained_on(ws, run.policy, run.reference).notes == (note,)
    assert set(evaluated(ws, run)) == prompts_of(ws, "pairs_test")
    assert " ".join(capsys.readouterr().err.split()).count(note) == 1
    write_numbers(ws.root / "saves/sft", [])  # with a record nothing is said
    assert trained_on(ws, run.policy).notes == ()


def test_each_part_without_a_record_is_named_once(ws: Workspace) -> None:
    write_lora(ws.root / "saves/sft/checkpoint-20")
    write_model(ws.root / "models/full")
    write_model(ws.root / "models/base")
    write_state(ws.root / "models/full", [{"loss": 1.0}])
    policies = [Policy("models/full", ("saves/sft/checkpoint-20", "org/adapter")), Policy("models/base")]
    named = ("the SFT adapter saves/sft/checkpoint-20", "the SFT model models/full", "the adapter org/adapter")
    assert set(trained_on(ws, *policies, *policies).unrecorded) == set(named)
    (ws.root / "models/full/rlguide.json").write_text('{"base": "models/base", "adapters": []}')
    assert trained_on(ws, Policy("models/full")).unrecorded == ()  # a merged model was not trained itself


def test_what_a_reward_model_was_trained_on_counts_too(ws: Workspace) -> None:
    register(ws, "third", ["Something else?"], "--test-size", "0")
    train(ws, "rm")
    shown = view(ws, "third", "ppo")
    run = train(ws, "ppo", stage="ppo", dataset=shown, reward_model="saves/rm")
    with pytest.raises(UsageError, match="was trained on"):
        evaluated(ws, run, "pairs")


def test_a_reward_model_is_not_evaluated_on_what_it_or_its_policy_was_trained_on(ws: Workspace) -> None:
    """Its config has neither a reference nor rewards of DPO."""
    register(ws, "mixed", [*PROMPTS[:6], "Fresh?", "Newer?"], "--test-size", "0")
    register(ws, "third", ["Newer?"], "--test-size", "0")
    below = train(ws, "below", dataset="third")
    run = train(ws, "rm", (*below.policy.adapters,), stage="rm", eval_dataset="pairs_test")
    config = eval_config(ws, run, [], {})
    assert config["stage"] == "rm" and config["adapter_name_or_path"] == "saves/sft,saves/below,saves/rm"
    assert not {"ref_model", "ref_model_adapters", "pref_beta", "pref_loss"} & set(config)
    held_out = prompts_of(ws, "pairs_test")
    assert set(evaluated(ws, run)) == held_out
    assert set(evaluated(ws, run, "mixed")) == {"Fresh?", *(held_out & set(PROMPTS[:6]))}
    with pytest.raises(UsageError, match="was trained on: none of its 32 pairs"):
        evaluated(ws, run, "pairs")


def test_a_dataset_whose_name_is_a_path_stays_in_its_place(ws: Workspace) -> None:
    run = train(ws, "dpo")
    entries = json.loads(ws.dataset_info.read_text())
    entries["../../outside"] = {**entries["pairs"], "file_name": "mixed.parquet"}
    ws.dataset_info.write_text(json.dumps(entries))
    register(ws, "mixed", [PROMPTS[0], *sorted(prompts_of(ws, "pairs"))[:3], "Fresh?"], "--test-size", "0")
    assert evaluated(ws, run, "../../outside")[-1] == "Fresh?"
    found = {path.relative_to(run.path).as_posix() for path in (run.path / "eval").rglob("*.parquet")}
    assert found == {"eval/data/held_out_0.parquet"}
    assert not list(ws.root.parent.rglob("outside*"))


def test_a_checkpoint_of_a_run_counts_as_the_run(ws: Workspace) -> None:
    (train(ws, "first").path / "checkpoint-5").mkdir()
    asked = next(prompt_fingerprints(ws, "pairs"))
    assert asked in trained_on(ws, Policy("models/base", ("saves/sft", "saves/first/checkpoint-5")))
    assert asked not in trained_on(ws, Policy("models/base", ("saves/sft",)))


def test_a_run_of_an_earlier_version_is_compared_by_name(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    shown = view(ws, "pairs", "kto")
    run = train(ws, "kto", stage="kto", dataset=shown)
    (run.path / FINGERPRINTS).unlink()
    with pytest.raises(UsageError, match="was trained on"):
        evaluated(ws, run, "pairs")
    assert set(evaluated(ws, run)) == prompts_of(ws, "pairs_test")
    assert "not checked" in capsys.readouterr().err


def test_the_same_prompt_in_another_dress(ws: Workspace) -> None:
    run = train(ws, "dpo")
    trained = sorted(prompts_of(ws, "pairs"))[0]
    register(ws, "dressed", [trained.upper() + "  ", "Fresh?"], "--test-size", "0")
    assert evaluated(ws, run, "dressed") == ["Fresh?"]


@pytest.mark.parametrize("formatting", ["alpaca", "sharegpt"])
def test_files_of_others(ws: Workspace, formatting: str) -> None:
    """Rows by the columns of their entry; one that cannot be read has no fingerprint and no effect on the others."""
    if formatting == "alpaca":
        rows: list[Any] = [{"ask": p, "a": "yes", "b": "no"} for p in PROMPTS[:4]] + [{"ask": 5, "a": "x", "b": "y"}]
        columns = {"prompt": "ask", "chosen": "a", "rejected": "b"}
    else:
        answers = {"a": {"from": "gpt", "value": "yes"}, "b": {"from": "gpt", "value": "no"}}
        rows = [{"talk": [{"from": "human", "value": p}], **answers} for p in PROMPTS[:4]]
        rows.append({"talk": 5, **answers})
        columns = {"messages": "talk", "chosen": "a", "rejected": "b"}
    (ws.data / "foreign.json").write_text(json.dumps(rows))
    entries = json.loads(ws.dataset_info.read_text())
    entries["foreign"] = {"file_name": "foreign.json", "ranking": True, "formatting": formatting, "columns": columns}
    ws.dataset_info.write_text(json.dumps(entries))
    expected = [fingerprint((Turn(HUMAN, prompt),)) for prompt in PROMPTS[:4]]
    assert list(prompt_fingerprints(ws, "foreign")) == [*expected, 0]
    assert set(evaluated(ws, train(ws, "dpo", dataset="foreign"), "pairs")) == prompts_of(ws, "pairs") - set(
        PROMPTS[:4]
    )


def test_the_model_is_loaded_and_its_prompts_are_written_as_in_training(ws: Workspace) -> None:
    settings = {
        "default_system": "You are a pirate.",
        "enable_thinking": False,
        "model_revision": "v1",
        "quantization_bit": 4,
        "quantization_type": "fp4",
        "add_tokens": "<a>",
        "train_on_prompt": True,
        "rope_scaling": "linear",
    }
    config = eval_config(ws, train(ws, "dpo", **settings), [], {})
    assert {key: config.get(key) for key in settings} == settings
    assert config["ref_model_quantization_bit"] == 4


def test_nothing_held_out(ws: Workspace) -> None:
    register(ws, "plain", PROMPTS, "--test-size", "0")
    run = train(ws, "dpo", dataset="plain")
    assert held_out_keys(ws, run) == {}
    with pytest.raises(UsageError, match="held no pairs out"):
        eval_config(ws, run, [], {})


def test_a_damaged_record_counts_as_none(tmp_path: Path) -> None:
    write_numbers(tmp_path, [1, 5, 9])
    assert list(read_fingerprints(tmp_path) or ()) == [1, 5, 9]
    whole = (tmp_path / FINGERPRINTS).read_bytes()
    for damaged in (b"", whole[:-1], whole[:-8], struct.pack("<3Q", 2, 9, 1)):
        (tmp_path / FINGERPRINTS).write_bytes(damaged)
        assert read_fingerprints(tmp_path) is None


@pytest.mark.parametrize(("rows", "share"), [(100, 0.05), (33, 0.1), (33, 7), (2, 0.5), (7, 1e-7)])
def test_the_draw_is_the_one_of_the_engine(rows: int, share: float) -> None:
    datasets = pytest.importorskip("datasets")
    drawn = split_rows({"val_size": share, "seed": 3}, rows)
    table = datasets.Dataset.from_dict({"at": list(range(rows))})
    if share < 1e-6:
        assert drawn.train.tolist() == list(range(rows))
        return
    split = table.train_test_split(test_size=share, seed=3)
    assert drawn.train.tolist() == split["train"]["at"][:]
    assert drawn.held_out.tolist() == split["test"]["at"][:]


def test_what_the_engine_fetches_itself_leaves_no_record(ws: Workspace) -> None:
    entries = json.loads(ws.dataset_info.read_text())
    entries["far"] = {"hf_hub_url": "a/b", "ranking": True, "columns": {"prompt": "p", "chosen": "c", "rejected": "r"}}
    ws.dataset_info.write_text(json.dumps(entries))
    run = train(ws, "dpo", dataset="pairs,far")
    assert trained_on(ws, run.policy).unchecked == ("saves/dpo",)
    with pytest.raises(RlguideError, match="was trained on"):
        evaluated(ws, run, "pairs")
