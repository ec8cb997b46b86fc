"""Measure which keys of a config LLaMA-Factory ignores, by method: does the key change a byte of the adapter?

    python scripts/measure_ignored_keys.py                                    all methods and keys, about 20 minutes
    python scripts/measure_ignored_keys.py --method dpo --key lora_dropout    some of them, seconds each
    python scripts/measure_ignored_keys.py --write tests/catalog/measured_keys.json

Run it with the engine's Python, on Linux; PPO with that of its own engine, with --method ppo and --write
tests/catalog/measured_keys_ppo.json. A tiny model is trained for some steps without the key and with it, on the
same data and seed, and the weights (sha256) and metrics that it leaves are compared:

    weights    other weights: the method reads the key
    metrics    the same weights, but other metrics: the method reads it when it logs or evaluates
    nothing    neither: the method ignores it
    fails      the engine raises an exception
    unknown    this version of the engine has no such key

The engine is imported once and each run is a fork of that process, because a run in the same process can leave things
behind that change the next. A control guards the comparison: the run without a key is repeated at the end of each
method, and must leave the same bytes. `tests/catalog/test_measured_keys.py` holds `catalog/methods.yaml` and
`catalog/engine_keys.yaml` against the written file; after a change of the engine's version, write it again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import importlib.metadata
import json
import logging
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

METHODS: dict[str, dict[str, Any]] = {
    "dpo": {"stage": "dpo", "pref_loss": "sigmoid"},
    "kto": {"stage": "kto"},
    "orpo": {"stage": "dpo", "pref_loss": "orpo"},
    "simpo": {"stage": "dpo", "pref_loss": "simpo"},
    "rm": {"stage": "rm"},
    "sft": {"stage": "sft"},
    "ppo": {"stage": "ppo", "template": "qwen3", "reward_model": "rm", "max_new_tokens": 8},
}
OF_THIS_ENGINE = [name for name in METHODS if name != "ppo"]
# More than one step, since at the first one policy and reference are the same; two rows a batch, so that KTO sees good
# and bad ones. The rate is large, so that every step moves the weights.
COMMON: dict[str, Any] = {
    "model_name_or_path": "model",
    "do_train": True,
    "finetuning_type": "lora",
    "lora_rank": 4,
    "dataset_dir": "data",
    "template": "qwen3_nothink",
    "cutoff_len": 64,
    "per_device_train_batch_size": 2,
    "per_device_eval_batch_size": 2,
    "learning_rate": 1e-2,
    "lr_scheduler_type": "linear",
    "max_steps": 4,
    "logging_steps": 1,
    "save_strategy": "no",
    "eval_strategy": "steps",
    "eval_steps": 4,
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
    "overwrite_cache": True,
}
# A key and the value that is compared with the run without it. Not asked are keys that are there for memory, speed or
# files alone, as they need not change a weight, and those whose effect depends on the model, the data or the host.
VALUES: dict[str, Any] = {
    # preference losses
    "pref_beta": 0.5,
    "pref_ftx": 0.5,
    "pref_loss": "hinge",
    "pref_bco_weight": 0.5,
    "dpo_label_smoothing": 0.2,
    "ld_alpha": 0.3,
    "simpo_gamma": 2.0,
    "kto_chosen_weight": 2.0,
    "kto_rejected_weight": 2.0,
    "ref_model": "other",
    "ref_model_adapters": "other",
    # PPO
    "ppo_buffer_size": 2,
    "ppo_epochs": 2,
    "ppo_score_norm": True,
    "ppo_target": 1.0,
    "ppo_whiten_rewards": True,
    "reward_model": "other",
    "reward_model_adapters": "other",
    "reward_model_type": "full",
    # adapters
    "lora_rank": 8,
    "lora_alpha": 64,
    "lora_dropout": 0.5,
    "lora_target": "q_proj",
    "loraplus_lr_ratio": 16.0,
    "loraplus_lr_embedding": 1e-2,
    "use_rslora": True,
    "use_dora": True,
    "pissa_init": True,
    "pissa_iter": 2,
    "pissa_convert": True,
    "additional_target": "norm",
    "module_dropout": 0.5,
    "oft_rank": 4,
    "oft_block_size": 8,
    "oft_target": "q_proj",
    "freeze_trainable_layers": 1,
    "freeze_trainable_modules": "mlp",
    "freeze_extra_modules": "embed_tokens",
    # losses of SFT
    "label_smoothing_factor": 0.2,
    "use_dft_loss": True,
    "use_asft_loss": True,
    "use_eaft_loss": True,
    "asft_alpha": 0.9,
    "eaft_alpha": 3.0,
    "compute_accuracy": True,
    # data
    "train_on_prompt": True,
    "mask_history": True,
    "packing": True,
    "neat_packing": True,
    "ignore_pad_token_for_loss": False,
    "default_system": "Be brief.",
    "group_by_length": True,
    "disable_shuffling": True,
    "data_seed": 7,
    "buffer_size": 2,
    # optimisation
    "seed": 7,
    "optim": "sgd",
    "use_muon": True,
    "weight_decay": 0.5,
    "adam_beta1": 0.5,
    "adam_beta2": 0.9,
    "adam_epsilon": 1e-3,
    "max_grad_norm": 0.01,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.5,
    "warmup_steps": 2,
    "neftune_noise_alpha": 5.0,
    # generation
    "do_sample": False,
    "temperature": 0.1,
    "top_p": 0.1,
    "top_k": 1,
    "num_beams": 2,
    "max_length": 8,
    "max_new_tokens": 4,
    "repetition_penalty": 2.0,
    "length_penalty": 2.0,
    "skip_special_tokens": False,
    "generation_max_length": 8,
    "generation_num_beams": 2,
    "eval_num_beams": 2,
    "sortish_sampler": True,
    "predict_with_generate": True,
    "infer_dtype": "bfloat16",
    # what belongs to something that is not switched on
    "quantization_method": "hqq",
    "quantization_type": "fp4",
    "double_quantization": False,
    "ref_model_quantization_bit": 4,
    "reward_model_quantization_bit": 4,
    "galore_rank": 8,
    "galore_target": "mlp",
    "galore_scale": 1.0,
    "galore_update_interval": 2,
    "galore_proj_type": "left",
    "galore_layerwise": True,
    "apollo_rank": 8,
    "apollo_target": "mlp",
    "apollo_scale": 1.0,
    "apollo_update_interval": 2,
    "apollo_proj": "svd",
    "apollo_layerwise": True,
    "badam_mode": "ratio",
    "badam_switch_mode": "random",
    "badam_switch_interval": 2,
    "badam_update_ratio": 0.5,
    "badam_start_block": 1,
    "swanlab_project": "other",
    "swanlab_workspace": "other",
    "swanlab_run_name": "other",
    "swanlab_mode": "local",
    "swanlab_logdir": "other",
    "use_hyper_parallel": True,
    "fp8": True,
    "fp8_backend": "te",
    "vllm_maxlen": 8,
    "vllm_gpu_util": 0.1,
    "sglang_maxlen": 8,
    "sglang_mem_fraction": 0.1,
    "kt_lora_expert_num": 2,
    "kt_weight_path": "other",
    "kt_expert_checkpoint_path": "other",
    "kt_use_lora_experts": True,
    "export_size": 1,
    "export_dir": "other",
    "export_device": "auto",
    "export_legacy_format": True,
    "export_hub_model_id": "other",
    "use_kv_cache": False,
    "offload_folder": "other",
    "length_column_name": "size",
    "eval_on_each_dataset": True,
    "early_stopping_steps": 2,
}
# The same beside other keys, which both runs have.
BESIDE: list[tuple[str, Any, dict[str, Any]]] = [
    *((key, VALUES[key], {"lr_scheduler_type": "constant"}) for key in ("warmup_ratio", "warmup_steps")),
    ("warmup_ratio", 0.5, {"warmup_steps": 1}),
    ("optim", "sgd", {"loraplus_lr_ratio": 16.0}),
    ("optim", "sgd", {"use_muon": True}),
    ("asft_alpha", 0.9, {"use_asft_loss": True}),
    ("eaft_alpha", 3.0, {"use_eaft_loss": True}),
    ("pissa_iter", 2, {"pissa_init": True}),
    ("lora_rank", 8, {"finetuning_type": "freeze"}),
    ("freeze_trainable_layers", 1, {"finetuning_type": "freeze"}),
    ("lora_rank", 8, {"finetuning_type": "oft", "oft_block_size": 8}),
    ("module_dropout", 0.5, {"finetuning_type": "oft", "oft_block_size": 8}),
    ("lora_dropout", 0.5, {"finetuning_type": "full"}),
    *(
        (key, VALUES[key], {"optim": optim})
        for key in ("adam_beta1", "adam_beta2", "adam_epsilon", "weight_decay")
        for optim in ("sgd", "adagrad", "rmsprop", "adafactor")
    ),
]


def make_workspace(folder: Path) -> None:
    """Two models and the data: pairs, labels and SFT rows of one text; lengths differ, some are truncated."""
    from rlguide_worker.make_model import main as make_model

    for seed, name in enumerate(("model", "other")):
        if make_model(["--out", str(folder / name), "--seed", str(seed)]):
            raise SystemExit(f"the model {name} cannot be made")
    rows = []
    for number in range(16):
        chosen = "Of course! " + f"It is {2 * number}. " * (1 + number % 5)
        rejected = f"{2 * number + 1} i guess" + " maybe" * (number % 7)
        rows.append((f"What is {number} plus {number}?", [["Hello", "Hello, how can I help?"]], chosen, rejected))
    common = {"prompt": "prompt", "history": "history"}
    tables = {
        "pairs": (
            [{"prompt": p, "history": h, "chosen": c, "rejected": r} for p, h, c, r in rows],
            {"ranking": True, "columns": {**common, "chosen": "chosen", "rejected": "rejected"}},
        ),
        "labels": (
            [
                {"prompt": p, "history": h, "response": response, "label": response is c}
                for p, h, c, r in rows
                for response in (c, r)
            ],
            {"columns": {**common, "response": "response", "kto_tag": "label"}},
        ),
        "sft": (
            [{"prompt": p, "history": h, "response": c} for p, h, c, _ in rows],
            {"columns": {**common, "response": "response"}},
        ),
    }
    (folder / "data").mkdir()
    info = {}
    for name, (table, entry) in tables.items():
        for part, chunk in (("", table[:-4]), ("_test", table[-4:])):
            (folder / f"data/{name}{part}.json").write_text(json.dumps(chunk), encoding="utf-8")
            info[name + part] = {"file_name": f"{name}{part}.json", **entry}
    (folder / "data/dataset_info.json").write_text(json.dumps(info), encoding="utf-8")


@contextlib.contextmanager
def workspace(**variables: str) -> Iterator[None]:
    """A fresh workspace as the current folder, with the engine imported: no hub, no GPU, a cache of data of its own.

    `variables` are set in the environment beside those.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="", TOKENIZERS_PARALLELISM="false", **variables)
        os.environ.update(HF_DATASETS_CACHE=f"{folder}/cache", LLAMAFACTORY_VERBOSITY="ERROR")
        os.chdir(folder)
        with quiet():
            make_workspace(Path(folder))
            importlib.import_module("llamafactory.train.tuner")
            logging.disable(logging.WARNING)
        yield


def config_of(method: str) -> dict[str, Any]:
    """The config of a method without any key of VALUES but those that it needs."""
    stage = METHODS[method]["stage"]
    data = {"kto": "labels", "sft": "sft", "ppo": "sft"}.get(stage, "pairs")
    if stage == "ppo":  # it cannot evaluate
        held_out: dict[str, Any] = {"eval_strategy": "no", "eval_steps": None}
    else:
        held_out = {"eval_dataset": f"{data}_test"}
    return {**COMMON, **METHODS[method], "dataset": data, **held_out}


def train(config: dict[str, Any]) -> tuple[str, str]:
    """Train in this process, in a fresh folder; returns the digests of the weights and of the metrics."""
    from llamafactory.train.tuner import run_exp

    with tempfile.TemporaryDirectory(dir=".") as out, quiet():
        run_exp(args={**config, "output_dir": out})
        weights = hashlib.sha256()
        for path in sorted(Path(out).glob("*.safetensors")):
            weights.update(path.name.encode() + path.read_bytes())
        history = json.loads((Path(out) / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    kept = [
        {key: value for key, value in row.items() if not key.endswith(("runtime", "per_second")) and key != "epoch"}
        for row in history
    ]
    return weights.hexdigest(), json.dumps(kept, sort_keys=True)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what the engine prints to nowhere."""
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield


def attempt(config: dict[str, Any]) -> tuple[str, str]:
    """As `train`; "fails" and the exception if the engine raises one."""
    try:
        return train(config)
    except Exception as error:  # whatever the engine raises is the finding
        if "are not used by the HfArgumentParser" in str(error):
            return "unknown", "unknown"
        return "fails", f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"


def cases(keys: list[str]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """By name ("KEY", "KEY beside OTHER=VALUE"): what the first run has beside the method's config, and the second."""
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        key: ({}, {key: value}) for key, value in VALUES.items() if key in keys
    }
    for key, value, others in BESIDE:
        if key in keys:
            name = f"{key} beside {', '.join(f'{other}={set_to}' for other, set_to in others.items())}"
            found[name] = (others, {**others, key: value})
    return found


def make_reward_model() -> None:
    """Train what PPO needs."""
    from llamafactory.train.tuner import run_exp

    with quiet():
        run_exp(args={**config_of("rm"), "template": "qwen3", "output_dir": METHODS["ppo"]["reward_model"]})


def modules_of(config: dict[str, Any]) -> list[str]:
    """Train, and return all that is imported by then."""
    train(config)
    return list(sys.modules)


def import_what_is_needed(config: dict[str, Any]) -> None:
    """Import here what a training imports, so that its forks need not; after a training here torch could not fork."""
    with multiprocessing.get_context("fork").Pool(1) as pool, quiet():
        for name in pool.apply(modules_of, (config,)):
            with contextlib.suppress(Exception):  # not all that is in sys.modules is a module that can be imported
                importlib.import_module(name)


def measure(method: str, keys: list[str]) -> dict[str, str]:
    """The effect of each case with a method. Raises SystemExit if the same config twice leaves other bytes."""
    base, found = config_of(method), {}
    if method == "ppo":
        with multiprocessing.get_context("fork").Pool(1) as pool:
            pool.apply(make_reward_model)
    import_what_is_needed(base)
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:

        def run(setting: dict[str, Any]) -> tuple[str, str]:
            return pool.apply(attempt, ({**base, **setting},))

        plain = run({})
        for name, (without, setting) in cases(keys).items():
            found[name] = compare(run(without) if without else plain, run(setting))
            print(f"{method:6} {name:45} {found[name]}", flush=True)
        again = run({})
    if plain[0] == "fails" or again != plain:
        raise SystemExit(f"{method}: the same config twice leaves {plain} and {again}, so nothing is known")
    return found


def compare(plain: tuple[str, str], other: tuple[str, str]) -> str:
    """The effect of what the second run has more than the first."""
    if "unknown" in other:
        return "unknown"
    if "fails" in (plain[0], other[0]):
        return f"fails: {plain[1] if plain[0] == 'fails' else other[1]}"
    if other[0] != plain[0]:
        return "weights"
    return "nothing" if other[1] == plain[1] else "metrics"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure which keys LLaMA-Factory ignores, by method.")
    parser.add_argument(
        "--method", action="append", choices=list(METHODS), help="only these (repeat); ppo needs its own engine"
    )
    parser.add_argument("--key", action="append", choices=list(VALUES), metavar="KEY", help="only these (repeat)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the findings as JSON")
    return parser.parse_args()


def main() -> None:
    """Measure what was asked for, print a table, write it."""
    options = parse()
    target = options.write.resolve() if options.write else None
    with workspace(OMP_NUM_THREADS="1"):  # one thread: the order of a sum is part of its bytes
        keys = options.key or list(VALUES)
        effects = {method: measure(method, keys) for method in options.method or OF_THIS_ENGINE}
    if target:
        engine = {name: importlib.metadata.version(name) for name in ("llamafactory", "trl", "transformers", "peft")}
        document = {"engine": engine, "effects": effects}
        target.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
