"""Each ready recipe is what its template asks for, and its copy trains where the steps of the guide were taken."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from rlguide.catalog.methods import find_method
from rlguide.catalog.recipes import ReadyRecipe, cells, find_ready_recipe, ready_recipes
from rlguide.engine.config_file import load_config, parse_yaml
from rlguide.recipes.ready import filled
from rlguide.recipes.render import load_recipe, was_edited
from rlguide.workspace import Workspace
from tests.cli.command import run
from tests.engine.fake_engines import main_engine, put, site
from tests.policy.checkpoint_files import write_lora, write_model, write_safetensors

ON_CPU = ("--set", "use_cpu=true", "--set", "bf16=false")
ALL = pytest.mark.parametrize("name", ready_recipes())
DPO, QLORA, LLAMA = "qwen3-4b-base-dpo-1x24gb", "qwen3-8b-base-dpo-qlora-1x24gb", "llama-3.1-8b-instruct-dpo-1x48gb"


@ALL
def test_it_is_the_template_but_for_what_is_said(name: str) -> None:
    recipe = find_ready_recipe(name)
    rendered = filled(recipe)
    template = load_recipe(recipe.method)
    differs = {key for key, value in template.defaults.items() if value is not None and rendered.config[key] != value}
    assert differs <= {*recipe.change, "gradient_accumulation_steps"}
    assert recipe.change.items() <= rendered.config.items()
    assert rendered.config.keys() <= template.defaults.keys()  # so each has its comment and its section
    assert parse_yaml(rendered.text_in("x.yaml")) == rendered.config


@ALL
def test_the_effective_batch_is_that_of_the_template_on_its_two_gpus(name: str) -> None:
    recipe = find_ready_recipe(name)
    config, defaults = filled(recipe).config, load_recipe(recipe.method).defaults
    keys = ("per_device_train_batch_size", "gradient_accumulation_steps")
    micro, steps = (config[key] for key in keys)
    assert micro * steps * recipe.gpus == defaults[keys[0]] * defaults[keys[1]] * 2 == 16


def test_a_batch_of_another_size_is_made_up_for() -> None:
    """Two pairs at a time: half the steps."""
    steps = [filled(find_ready_recipe(f"{name}-dpo-1x24gb")).config["gradient_accumulation_steps"] for name in
             ("qwen3-0.6b-base", "qwen3-4b-base")]  # fmt: skip
    assert steps == [8, 16]


def test_the_data_is_that_of_the_card() -> None:
    plans = {name: filled(recipe).schedule for name, recipe in ready_recipes().items()}
    assert (plans[DPO].rows, plans[DPO].held_out, plans[DPO].steps_per_epoch) == (61_135, 2_000, 3_821)
    kto = plans["qwen3-4b-base-kto-1x24gb"]
    assert (kto.rows, kto.held_out, kto.unit, kto.is_exact) == (2 * 61_135, 4_000, "examples", False)


def prepared(ws: Workspace, recipe: ReadyRecipe, dataset: str) -> None:
    """A workspace as the guide's own steps leave it: pairs, an SFT adapter or the model that it was merged into."""
    rows = [{"instruction": f"q {n}", "chosen": "Yes, please.", "rejected": "no"} for n in range(80)]
    (ws.root / "pairs.json").write_text(json.dumps(rows), encoding="utf-8")
    place = ("--workspace", str(ws.root))
    assert run("register", str(ws.root / "pairs.json"), "--name", dataset, "--test-size", "0.25", *place) == 0
    write_lora(ws.saves / recipe.model.name / "lora/sft", base=recipe.model.hub_id)
    write_model(ws.saves / recipe.model.name / "merged/sft")


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of a main engine without its weight."""
    root = tmp_path_factory.mktemp("engine") / "main"
    engine = main_engine(root)
    put(site(root), "bitsandbytes", "0.50.2")
    return str(engine.python)


@pytest.fixture(autouse=True)
def _engine(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLGUIDE_ENGINE", python)


@ALL
def test_a_copy_trains(ws: Workspace, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = find_ready_recipe(name)
    prepared(ws, recipe, "ultrafeedback")
    place, file = ("--workspace", str(ws.root)), ws.configs / f"{name}.yaml"
    assert run("recipes", "copy", name, *place) == 0
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("next: rlguide train --config "), said  # nothing else is to be done
    assert run("train", "--config", str(file), *place, *ON_CPU, "--dry-run") == 0, capsys.readouterr().err
    config = load_config(file)
    assert config["dataset"].startswith("ultrafeedback") and config["eval_dataset"] == f"{config['dataset']}_test"
    assert not was_edited(file)
    rows, responses = 60, 2 if find_method(recipe.method).data == "labels" else 1
    assert (
        f"{rows * responses} {'pairs' if recipe.method in ('dpo', 'orpo', 'simpo') else 'examples'}" in file.read_text()
    )


@ALL
def test_a_copy_where_nothing_is_there_yet_is_the_recipe(ws: Workspace, name: str) -> None:
    place = ("--workspace", str(ws.root))
    assert run("recipes", "copy", name, *place) == 0
    recipe = find_ready_recipe(name)
    assert load_config(ws.configs / f"{name}.yaml") == filled(recipe).config
    assert (ws.configs / f"{name}.yaml").read_text() == filled(recipe).text_in(f"configs/{name}.yaml")


def test_it_says_in_order_what_is_to_be_run_first(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    place = ("--workspace", str(ws.root))
    folder = f" --workspace '{ws.root}'"

    def told(*arguments: str) -> list[str]:
        capsys.readouterr()
        assert run("recipes", "copy", QLORA, *arguments, "--force", *place) == 0
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("next: ", "then: "))]
        assert said[0].startswith("next: ") and all(line.endswith(folder) for line in said)
        return [line[6:].removesuffix(folder) for line in said][:-1]

    download, sft = "rlguide download ultrafeedback", "rlguide train --method sft --base Qwen/Qwen3-8B-Base --dataset "
    export = "rlguide export saves/qwen3-8b-base/lora/sft"
    assert told() == [download, f"{sft}ultrafeedback", export]
    assert told("--dataset", "polite") == [f"{sft}polite", export]
    write_lora(ws.saves / "qwen3-8b-base/lora/sft", base="Qwen/Qwen3-8B-Base")
    assert told("--dataset", "polite") == [export]
    write_lora(ws.saves / "my sft", base="Qwen/Qwen3-8B-Base")
    mine = ("--dataset", "polite", "--sft-ckpt", "saves/my sft")
    assert told(*mine) == ["rlguide export 'saves/my sft'"]
    assert load_config(ws.configs / f"{QLORA}.yaml")["model_name_or_path"] == "saves/Qwen3-8B-Base/merged/my sft"
    write_model(ws.saves / "qwen3-8b-base/merged/sft")
    assert told("--dataset", "polite") == []


def test_a_checkpoint_and_data_of_ones_own(ws: Workspace) -> None:
    write_lora(ws.saves / "mine/checkpoint-20", base="Qwen/Qwen3-4B-Base")
    place = ("--workspace", str(ws.root))
    assert run("recipes", "copy", DPO, "--sft-ckpt", "saves/mine/checkpoint-20", "-d", "polite", *place) == 0
    config = load_config(ws.configs / f"{DPO}.yaml")
    wanted = {"adapter_name_or_path": "saves/mine/checkpoint-20", "create_new_adapter": True, "dataset": "polite"}
    wanted |= {"eval_dataset": "polite_test", "output_dir": "saves/qwen3-4b-base/lora/dpo", "eval_steps": 1}
    assert wanted.items() <= config.items()
    assert "preprocessing_num_workers" not in config  # of 40 rows


@pytest.mark.parametrize(
    ("base", "shapes"), [("Qwen/Qwen3-8B-Base", None), ("models/tiny-base", None), ("full", (2048, 28))]
)
def test_a_checkpoint_of_another_model_is_refused(
    ws: Workspace, base: str, shapes: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ws.saves / "other"
    if shapes:
        write_model(folder, hidden=shapes[0], layers=shapes[1])
        write_safetensors(folder / "model.safetensors", {"model.embed_tokens.weight": (64, 16)})
    else:
        write_lora(folder, base=base)
    assert run("recipes", "copy", DPO, "--sft-ckpt", "saves/other", "--workspace", str(ws.root)) == 2
    assert f"the recipe {DPO} is for Qwen/Qwen3-4B-Base" in capsys.readouterr().err
    assert not ws.configs.exists()


def test_a_file_that_is_there_stays(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    place, file = ("--workspace", str(ws.root)), ws.configs / f"{DPO}.yaml"
    file.parent.mkdir()
    file.write_text("mine: true\n")
    assert run("recipes", "copy", DPO, *place) == 2
    assert file.read_text() == "mine: true\n" and list(ws.configs.iterdir()) == [file]
    assert "--force" in capsys.readouterr().err
    assert run("recipes", "copy", DPO, "--force", *place) == 0
    assert (ws.configs / f"{DPO}.yaml.bak").read_text() == "mine: true\n"
    link = ws.root / "a link.yaml"
    link.symlink_to("nowhere")
    assert run("recipes", "copy", DPO, str(link), *place) == 2 and link.is_symlink()


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_pipe_or_a_device_is_not_replaced(ws: Workspace, force: tuple[str, ...], capsys: Any) -> None:
    pipe = ws.root / "a pipe"
    os.mkfifo(pipe)
    assert run("recipes", "copy", DPO, str(pipe), "--workspace", str(ws.root), *force) == 2
    assert run("configure", "--output", str(pipe), "--workspace", str(ws.root), *force) == 2
    assert pipe.is_fifo() and not list(ws.root.glob("a pipe.*"))
    assert capsys.readouterr().err.count("a device, a pipe or a socket") == 2


def test_into_a_folder_or_a_file(ws: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(ws.root)
    (ws.root / "my 文件夹").mkdir()
    assert run("recipes", "copy", LLAMA, "my 文件夹") == 0
    assert capsys.readouterr().out == f"my 文件夹/{LLAMA}.yaml\n"
    assert run("recipes", "copy", LLAMA, "new/我的.yaml") == 0
    assert "rlguide train --config 'new/我的.yaml'" in capsys.readouterr().err
    assert "    rlguide train --config 'new/我的.yaml'" in (ws.root / "new/我的.yaml").read_text("utf-8").replace(
        "#", ""
    )


def test_a_folder_that_cannot_be_made(ws: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    (ws.root / "a file").touch()
    assert run("recipes", "copy", DPO, str(ws.root / "a file/x.yaml"), "--workspace", str(ws.root)) == 1
    assert "cannot write" in capsys.readouterr().err
    assert (ws.root / "a file").read_bytes() == b""


def test_it_is_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recipes") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(ready_recipes())
    assert run("recipes", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in listed] == list(ready_recipes())
    assert run("recipes", "show", DPO) == 0
    assert parse_yaml(capsys.readouterr().out) == filled(find_ready_recipe(DPO)).config
    assert run("recipes", "show", DPO, "--json") == 0
    assert json.loads(capsys.readouterr().out)["config"] == filled(find_ready_recipe(DPO)).config
    assert run("recipes", "show", "nothing") == 2


def test_a_table_says_nothing_where_nothing_was_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlguide.catalog.recipes.planned_figures", lambda recipe: None)
    assert cells(find_ready_recipe(DPO)) == (DPO, "Qwen/Qwen3-4B-Base", "dpo", "1 x 24 GB", "-", "-")


def test_a_config_whose_models_are_not_there_says_how_to_make_them(
    ws: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ("--workspace", str(ws.root))
    for name in (DPO, QLORA):
        assert run("recipes", "copy", name, "-d", "polite", *place) == 0
    train = ("train", *place, *ON_CPU, "--dry-run", "--config")
    capsys.readouterr()
    assert run(*train, str(ws.configs / f"{DPO}.yaml")) == 1
    assert "fix: train it: `rlguide train --method sft --base Qwen/Qwen3-4B-Base`" in capsys.readouterr().err
    assert run(*train, str(ws.configs / f"{QLORA}.yaml")) == 1
    assert "name yours (model_name_or_path)" in capsys.readouterr().err
    write_lora(ws.saves / "qwen3-8b-base/lora/sft", base="Qwen/Qwen3-8B-Base")
    assert run(*train, str(ws.configs / f"{QLORA}.yaml")) == 1
    assert "fix: merge it: `rlguide export saves/qwen3-8b-base/lora/sft`" in capsys.readouterr().err
