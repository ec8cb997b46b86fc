"""What the engine would say after its imports, or never, is said beforehand, of rendered configs and of one's own."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest

from rlguide.catalog.engine_keys import Rule, engine_keys
from rlguide.catalog.methods import methods
from rlguide.engine.config_file import parse_settings
from rlguide.engine.find import WATCHED
from rlguide.engine.schema import Field, Schema
from rlguide.errors import RlguideError, UsageError
from rlguide.policy.run_record import RunRecord, write_record
from rlguide.recipes.foreseen import check_foreseen, check_numbers
from rlguide.recipes.options import TrainingOptions
from rlguide.recipes.outward import outward_notes
from rlguide.recipes.prepare import prepare
from rlguide.recipes.render import load_recipe
from rlguide.recipes.schedule import processes
from rlguide.workspace import Workspace
from tests.recipes.conftest import ENGINE, SFT, asked

_OF_PREFERENCE_LOSSES = (
    *("pref_beta", "pref_ftx", "pref_bco_weight", "dpo_label_smoothing", "ld_alpha", "simpo_gamma"),
    *("kto_chosen_weight", "kto_rejected_weight"),
)
HUGE = int("9" * 400)


def both(ws: Workspace, method: str, settings: dict[str, Any]) -> list[list[str]]:
    """The notes on the settings in a rendered config, and in a config that is the same but for them."""
    own = ws.root / "own.yaml"
    own.write_text(asked(ws, method=method).text, encoding="utf-8")
    return [asked(ws, method=method, settings=settings).notes, asked(ws, config=own, settings=settings).notes]


def refused(ws: Workspace, method: str, settings: dict[str, Any], words: str) -> None:
    own = ws.root / "own.yaml"
    own.write_text(asked(ws, method=method).text, encoding="utf-8")
    for options in ({"method": method, "settings": settings}, {"config": own, "settings": settings}):
        with pytest.raises(RlguideError, match=words) as error:
            asked(ws, **options)
        assert error.value.fix


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("dpo", {"report_to": "wandb"}, "report_to wandb needs wandb, which the engine does not have"),
        ("dpo", {"report_to": ["none", "swanlab"]}, "needs swanlab"),
        ("dpo", {"report_to": "wandbb"}, "does not know"),
        ("dpo", {"finetuning_type": "full"}, "LoRA checkpoint"),
        ("dpo", {"finetuning_type": "freeze"}, "LoRA checkpoint"),
        ("dpo", {"val_size": 0.1}, "beside eval_dataset"),
        ("dpo", {"resume_from_checkpoint": "saves/other/checkpoint-4"}, "in the middle of another one"),
        ("dpo", {"do_train": False}, "nothing would be trained"),
        ("dpo", {"pissa_init": True}, "where there is a reference"),
        ("dpo", {"use_galore": True}, "use_galore"),
        ("dpo", {"use_badam": True}, "use_badam"),
        ("dpo", {"per_device_eval_batch_size": 0}, "above 0"),
        ("dpo", {"warmup_ratio": 1.5}, "from 0 to 1"),
        ("dpo", {"dataloader_prefetch_factor": 2}, "needs dataloader_num_workers"),
        ("dpo", {"save_strategy": "best"}, "needs metric_for_best_model"),
        ("dpo", {"max_samples": 0}, "above 0"),
        ("dpo", {"logging_steps": 0}, "above 0"),
        ("dpo", {"streaming": True}, "max_steps"),
        ("dpo", {"streaming": True, "max_steps": 5, "max_samples": 5}, "with streaming"),
        ("dpo", {"num_train_epochs": math.inf}, "finite"),
        ("dpo", {"learning_rate": math.nan}, "finite"),
        ("dpo", {"gradient_accumulation_steps": HUGE}, "larger than any training"),
        ("dpo", {"seed": -HUGE}, "larger than any training"),
        ("dpo", {"ref_model": "/no/such"}, "does not exist"),
        ("dpo", {"ref_model": "models/tiny-base", "ref_model_adapters": "saves/no"}, "does not exist"),
        ("dpo", {"group_by_length": True}, "group_by_length"),
        ("rm", {"neftune_noise_alpha": 5.0}, "AttributeError"),
        ("simpo", {"mask_history": True}, "except in SFT"),
        ("dpo", {"interleave_probs": "0.5,0.5"}, "interleaving"),
        ("dpo", {"mix_strategy": "interleave_once"}, "needs datasets 4.2"),
        ("dpo", {"lr_scheduler_type": "cosine_with_min_lr"}, "need the rate at which they end"),
        ("dpo", {"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "no"}, "needs evaluations"),
        ("dpo", {"eval_dataset": None, "eval_strategy": "steps"}, "neither eval_dataset nor val_size"),
        ("dpo", {"eval_dataset": None, "eval_strategy": "no", "do_eval": True}, "neither eval_dataset nor val_size"),
        ("dpo", {"optim": "galore_adamw"}, "optim galore_adamw needs galore_torch"),
        ("dpo", {"optim": "schedule_free_adamw"}, "needs schedulefree"),
        ("dpo", {"half_precision_backend": "apex"}, "needs apex"),
        ("dpo", {"use_liger_kernel": True}, "needs liger_kernel"),
        ("dpo", {"flash_attn": "fa3"}, "not implemented"),
        ("dpo", {"load_best_model_at_end": True, "save_strategy": "epoch"}, "save_strategy is epoch"),
        ("dpo", {"load_best_model_at_end": True, "eval_steps": 2, "save_steps": 5}, "multiple of eval_steps"),
        ("dpo", {"early_stopping_steps": 2}, "needs load_best_model_at_end"),
        ("dpo", {"pref_loss": "hinge", "dpo_label_smoothing": 0.1}, "no effect with pref_loss hinge"),
        ("dpo", {"pref_loss": "hinge", "pref_ftx": 0.2}, "ends the training in its first step"),
        ("orpo", {"pref_bco_weight": 0.1}, "no effect with orpo"),
        ("simpo", {"pref_bco_weight": 0.1}, "no effect with simpo"),
        *(("rm", {key: 0.1}, "no effect with rm") for key in _OF_PREFERENCE_LOSSES),
    ],
)
def test_what_fails_is_refused(ws: Workspace, method: str, settings: dict[str, Any], words: str) -> None:
    refused(ws, method, settings, words)


@pytest.mark.parametrize(
    ("method", "settings", "words"),
    [
        ("dpo", {"lora_dropout": 0.1}, "lora_dropout has no effect"),
        ("dpo", {"lr_scheduler_type": "constant"}, "warmup_ratio has no effect"),
        ("dpo", {"warmup_steps": 2}, "warmup_ratio has no effect beside warmup_steps"),
        ("dpo", {"flash_attn": "fa2"}, "fa2 has no effect"),
        ("dpo", {"rope_scaling": "linear", "cutoff_len": 4096}, "rope_scaling has no effect"),
        ("dpo", {"shift_attn": True}, "shift_attn has no effect"),
        ("dpo", {"pref_ftx": 0.2}, "above 0.6931"),
        ("orpo", {"pref_ftx": 0.2}, "above that without it"),
        ("simpo", {"label_smoothing_factor": 0.1}, "label_smoothing_factor has no effect"),
        ("orpo", {"ref_model": "models/tiny-base"}, "ref_model has no effect"),
        ("dpo", {"cutoff_len": 100_000}, "cutoff_len 100000 is above"),
        ("dpo", {"template": "llama3"}, "the template is llama3"),
        ("dpo", {"learning_rate": 0.1}, "learning_rate 0.1 is far out"),
        ("dpo", {"learning_rate": 1e-30}, "far out"),
    ],
)
def test_what_misleads_is_said(ws: Workspace, method: str, settings: dict[str, Any], words: str) -> None:
    for notes in both(ws, method, settings):
        assert any(words in note for note in notes), notes


@pytest.mark.parametrize("method", [name for name, method in methods().items() if method.data == "pairs"])
def test_the_recipe_itself_is_without_reproach(ws: Workspace, method: str) -> None:
    for notes in both(ws, method, {}):
        assert all("guess" in note for note in notes), notes
    assert check_foreseen(load_recipe(method).defaults, methods()[method], {}, "it") == []


def test_a_longer_context_is_scaled(ws: Workspace) -> None:
    for notes in both(ws, "dpo", {"rope_scaling": "linear", "cutoff_len": 4097}):
        assert not any("rope_scaling" in note for note in notes), notes


def test_a_reward_model_trains_with_dropout(ws: Workspace) -> None:
    assert not any("lora_dropout" in note for notes in both(ws, "rm", {"lora_dropout": 0.1}) for note in notes)


def test_another_template_than_that_of_sft(ws: Workspace) -> None:
    write_record(ws.root / SFT, RunRecord(base="models/tiny-base", template="llama3"))
    for notes in both(ws, "dpo", {"template": "qwen3_nothink"}):
        assert any("SFT used llama3" in note for note in notes), notes


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"quantization_bit": 4}, "needs bitsandbytes"),
        ({"quantization_bit": 4, "quantization_method": "hqq"}, "needs hqq"),
        ({"quantization_bit": 8, "quantization_method": "eetq"}, "needs eetq"),
        ({"quantization_bit": 4, "quantization_method": "gptq"}, "silently not quantize"),
    ],
)
def test_what_quantizes_must_be_there(settings: dict[str, Any], words: str) -> None:
    config = {**load_recipe("dpo").defaults, **settings}
    with pytest.raises(RlguideError, match=words):
        check_foreseen(config, methods()["dpo"], {}, "it")
    if words.startswith("needs"):
        assert check_foreseen(config, methods()["dpo"], {words.removeprefix("needs "): "1"}, "it") == []


@pytest.mark.parametrize("bits", [3, 16])
def test_bits_that_bitsandbytes_has_not(bits: int) -> None:
    config = {**load_recipe("dpo").defaults, "quantization_bit": bits}
    with pytest.raises(UsageError, match="must be 4 or 8"):
        check_foreseen(config, methods()["dpo"], {"bitsandbytes": "0.50.2"}, "it")


@pytest.mark.parametrize(
    ("version", "probabilities", "words"),
    [
        ("4.0.0", None, "needs datasets 4.2"),
        ("4.1.1", "0.5,0.5", "needs datasets 4.2"),
        ("4.2.0", None, "silently drop rows"),
        ("4.5.0", None, "silently drop rows"),
        ("4.2.0", "0.5,0.5", None),
        ("4.6.0", None, None),
    ],
)
def test_every_row_once_depends_on_the_version_of_datasets(
    version: str, probabilities: str | None, words: str | None
) -> None:
    """Tried with these versions: ValueError, or [0, 10, 1, 11, 2, 12] of [0, 1, 2] and [10, 11, 12, 13, 14]."""
    extra = {"mix_strategy": "interleave_once", "interleave_probs": probabilities}
    config, versions = {**load_recipe("dpo").defaults, **extra}, {"datasets": version}
    if words is None:
        assert check_foreseen(config, methods()["dpo"], versions, "it") == []
    else:
        with pytest.raises(RlguideError, match=words) as error:
            check_foreseen(config, methods()["dpo"], versions, "it")
        assert "concat" in error.value.fix


def test_the_fix_for_the_best_checkpoint_works(ws: Workspace) -> None:
    asked_for = {"load_best_model_at_end": True, "eval_steps": 4, "save_steps": 10}
    with pytest.raises(UsageError) as error:
        asked(ws, settings=asked_for)
    fixed = parse_settings(error.value.fix.removeprefix("add ").replace("--set ", "").split())
    assert fixed["save_steps"] == 8
    assert asked(ws, settings={**asked_for, **fixed}).config["save_steps"] == 8


def test_the_fix_for_a_least_rate_works(ws: Workspace) -> None:
    rule = next(rule for rule in engine_keys().rules if "lr_scheduler_kwargs" in rule.when)
    (kwargs,) = re.findall(r"--set '(.+?)'", rule.fix)
    settings = {"lr_scheduler_type": "cosine_with_min_lr", **parse_settings([kwargs])}
    assert asked(ws, settings=settings).config["lr_scheduler_kwargs"] == {"min_lr_rate": 0.1}


def test_an_installed_tracker_is_no_fault(ws: Workspace) -> None:
    engine = replace(ENGINE, versions={**ENGINE.versions, "tensorboardX": "2"})
    options = TrainingOptions(settings={"report_to": "tensorboard"})
    assert prepare(ws, engine, options, dry_run=True).config["report_to"] == "tensorboard"


def test_the_engine_is_asked_for_every_package_of_the_table() -> None:
    table = engine_keys()
    of_values = [name for values in table.values.values() for names in values.values() for name in names]
    of_rules = [name for rule in table.rules for name in rule.where]
    assert {*table.packages.values(), *of_values, *of_rules} <= set(WATCHED)


@pytest.mark.parametrize("rule", engine_keys().rules, ids=lambda rule: "-".join(rule.keys))
def test_every_rule_names_its_source_and_known_methods(rule: Rule) -> None:
    assert rule.does in ("nothing", "other", "fails")
    assert rule.source
    assert set(rule.methods) <= set(methods())


def test_a_gradient_norm_without_bound() -> None:
    check_numbers({"max_grad_norm": math.inf, "do_train": True}, "it")


@pytest.mark.parametrize("text", ["1:4", "two", "0", "-1", "1.5", "²", "9" * 5000])
@pytest.mark.parametrize("name", ["NNODES", "NPROC_PER_NODE"])
def test_a_variable_that_is_not_a_count(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=name):
        processes({}, [], {"FORCE_TORCHRUN": "1", name: text})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"push_to_hub": True}, "push_to_hub: true sends something away"),
        ({"logging_dir": "logs"}, "logging_dir: logs writes outside the run's folder"),
        ({"cache_dir": "/elsewhere"}, "cache_dir: /elsewhere writes outside the run's folder"),
    ],
)
def test_what_leaves_the_run_is_said(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], words: str
) -> None:
    known = asked(ws).config
    schema = Schema({key: Field(key, (), (), None, "") for key in {**known, **settings}}, ("qwen3_nothink",), {})
    monkeypatch.setattr("rlguide.recipes.checks.load_schema", lambda engine: schema)
    for notes in both(ws, "dpo", settings):
        assert words in notes
    inside = {"logging_dir": f"{known['output_dir']}/logs", "report_to": "tensorboard", "push_to_hub": False}
    assert outward_notes(ws.root, ws.root / str(known["output_dir"]), {**known, **inside}) == []
