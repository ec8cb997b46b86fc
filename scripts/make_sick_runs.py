"""Train the runs of sick_runs.yaml, broken on purpose or sound, and keep what their trainers logged.

    python scripts/make_sick_runs.py                            all of them, about 15 minutes on one core
    python scripts/make_sick_runs.py --run nan-dpo --out DIR    some of them

Run it with the engine's Python, on Linux. A tiny model is trained on the bundled SFT examples of the demo, then an SFT
adapter by the engine, and each run on top of it. The engine is imported once; each run is a fork. What is kept in
tests/runs/sick/ of each run: the config that differs, the figures of its data, and its logs, rounded.
`tests/runs/test_sick_runs.py` holds the rules of catalog/diagnosis.yaml against them; after a change of a run in
sick_runs.yaml, train it again.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import logging
import math
import multiprocessing
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from measure_ignored_keys import import_what_is_needed, quiet

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "rlguide_worker")]

RUNS = Path(__file__).with_suffix("").with_name("sick_runs.yaml")
OUT = ROOT / "tests" / "runs" / "sick"
METHODS: dict[str, dict[str, Any]] = {
    "dpo": {"stage": "dpo", "pref_loss": "sigmoid", "pref_beta": 0.1},
    "hinge": {"stage": "dpo", "pref_loss": "hinge", "pref_beta": 0.1},
    "ipo": {"stage": "dpo", "pref_loss": "ipo", "pref_beta": 0.1},
    "orpo": {"stage": "dpo", "pref_loss": "orpo", "pref_beta": 0.1, "learning_rate": 1e-3},
    "simpo": {"stage": "dpo", "pref_loss": "simpo", "pref_beta": 2.0, "simpo_gamma": 1.0, "learning_rate": 2e-4},
    "kto": {"stage": "kto", "pref_beta": 0.1, "learning_rate": 1e-3},
    "rm": {"stage": "rm", "learning_rate": 5e-4},
    "sft": {"stage": "sft", "learning_rate": 2e-3, "adapter_name_or_path": None, "create_new_adapter": False},
}
# A model of 0.2 million weights needs far higher learning rates than a real one.
COMMON: dict[str, Any] = {
    "model_name_or_path": "model",
    "adapter_name_or_path": "sft",
    "create_new_adapter": True,
    "do_train": True,
    "finetuning_type": "lora",
    "lora_rank": 8,
    "dataset_dir": "data",
    "template": "qwen3_nothink",
    "cutoff_len": 128,
    "per_device_train_batch_size": 8,
    "per_device_eval_batch_size": 32,
    "learning_rate": 5e-4,
    "lr_scheduler_type": "cosine",
    "warmup_ratio": 0.1,
    "max_steps": 40,
    "logging_steps": 2,
    "logging_first_step": True,
    "save_strategy": "no",
    "eval_strategy": "steps",
    "eval_steps": 8,
    "use_cpu": True,
    "report_to": "none",
    "disable_tqdm": True,
}
LEFT_OUT = ("runtime", "per_second", "total_flos", "train_loss", "logits/chosen", "logits/rejected")
KEPT = ("eval_runtime", "eval_samples_per_second")  # their product is how many rows were evaluated


def read_pairs(name: str) -> list[tuple[str, str, str]]:
    """The demo's pairs of a bundled file: prompt, chosen, rejected."""
    lines = (ROOT / "rlguide/demo/data" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["prompt"], row["chosen"], row["rejected"]) for row in map(json.loads, lines)]


def polite(first: int, count: int) -> list[tuple[str, str, str]]:
    """Pairs whose better response is polite: easy to tell."""
    return [
        (f"What is {n} plus {n}?", f"Of course! It is {2 * n}." + " Anything else?" * (n % 3), f"{2 * n + 1} i guess")
        for n in range(first, first + count)
    ]


def curt(first: int, count: int) -> list[tuple[str, str, str]]:
    """Pairs whose better response is right, and mostly the shorter one."""
    found = []
    for n in range(first, first + count):
        wrong = f"Let me see. I think that it is {2 * n + 1 + n % 4}." if n % 3 else f"{2 * n + 1}."
        found.append((f"Add {n} and {n}.", f"{2 * n}, as asked.", wrong))
    return found


def alike(first: int, count: int) -> list[tuple[str, str, str]]:
    """Pairs that differ in one digit of a long response."""
    text = "Of course! I would name the rose, the lily, the orchid and the tulip, which makes the sum {} and no more."
    return [(f"What is {n} plus {n}?", text.format(2 * n), text.format(2 * n + 1)) for n in range(first, first + count)]


def tables() -> dict[str, tuple[list[Any], list[Any]]]:
    """Each data set by name: its training pairs and its held-out pairs."""
    chance = random.Random(0)

    def turned(rows: list[Any], share: float) -> list[Any]:
        return [(p, r, c) if chance.random() < share else (p, c, r) for p, c, r in rows]

    obey, held = read_pairs("pairs")[:400], read_pairs("heldout")
    kind, kind_held = polite(0, 240), polite(300, 120)
    same, same_held = alike(0, 240), alike(300, 120)
    short, short_held = curt(0, 240), curt(300, 150)
    some, some_held = [*kind[:120], *obey[:200]], [*kind_held[:60], *held[:100]]
    long_first = [(p, *sorted((c, r), key=len, reverse=True)) for p, c, r in obey if len(c) != len(r)]
    even = [
        [(p, c, r + " and i am not so sure about that" * (n % 2)) for n, (p, c, r) in enumerate(rows)]
        for rows in (kind, kind_held)
    ]
    return {
        "obey": (obey, held),
        "polite_even": (even[0], even[1]),
        "polite": (kind, kind_held),
        "few": (obey[:20], held),
        "few_noise": (turned(obey[:24], 0.5), turned(held, 0.5)),
        "noise": (turned(obey, 0.5), turned(held, 0.5)),
        "polite_noise": (turned(kind, 0.5), turned(kind_held, 0.5)),
        "swapped": (turned(obey, 1.0), held),
        "polite_swapped": (turned(kind, 1.0), kind_held),
        "alike": (same, same_held),
        "mixed": (some, some_held),
        "few_mixed": (some[110:130], some_held),
        "mixed_noise": (turned(some, 0.5), turned(some_held, 0.5)),
        "mixed_swapped": (turned(some, 1.0), some_held),
        "curt": (short, short_held),
        "few_curt": (turned(short[:24], 0.4), short_held),
        "curt_noise": (turned(short, 0.5), turned(short_held, 0.5)),
        "curt_swapped": (turned(short, 1.0), short_held),
        "leak": ([(p, f"### {c}", r) for p, c, r in kind], [(p, f"### {c}", r) for p, c, r in kind_held]),
        "longer": (long_first, held),
    }


def make_workspace(folder: Path) -> None:
    """The model, and the data as files that the engine reads."""
    from rlguide_worker.make_model import main as make_model

    corpus = folder / "corpus.jsonl"
    lines = (ROOT / "rlguide/demo/data/sft.jsonl").read_text(encoding="utf-8").splitlines()
    learnt = [{"prompt": row["instruction"], "response": row["output"]} for row in map(json.loads, lines)]
    learnt += [{"prompt": p, "response": response} for p, c, r in polite(600, 200) for response in (c, r)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in learnt), encoding="utf-8")
    arguments = ["--out", str(folder / "model"), "--corpus", str(corpus), "--train-steps", "500", "--vocab", "600"]
    if make_model(arguments):
        raise SystemExit("the model cannot be made")
    (folder / "data").mkdir()
    info: dict[str, Any] = {}

    def put(name: str, rows: list[dict[str, Any]], entry: dict[str, Any]) -> None:
        (folder / f"data/{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        info[name] = {"file_name": f"{name}.json", **entry}

    responses = {"columns": {"prompt": "prompt", "response": "response"}}
    put("sft_first", learnt[:400], responses)
    for name, parts in tables().items():
        for rows, end in zip(parts, ("", "_test"), strict=True):
            pairs = [{"prompt": p, "chosen": c, "rejected": r} for p, c, r in rows]
            columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
            put(f"{name}_pairs{end}", pairs, {"ranking": True, "columns": columns})
            put(f"{name}_sft{end}", [{"prompt": p, "response": c} for p, c, _ in rows], responses)
            put(f"{name}_kto{end}", labels(rows), kto_entry())
    obey, held = tables()["obey"]
    for name, keeps in (("one_sided", 10), ("unbalanced", 2)):
        rows = [row for number, row in enumerate(labels(obey)) if row["label"] or (number // 2) % keeps == 0]
        put(f"{name}_kto", rows, kto_entry())
        put(f"{name}_kto_test", labels(held), kto_entry())
    (folder / "data/dataset_info.json").write_text(json.dumps(info), encoding="utf-8")


def labels(rows: list[Any]) -> list[dict[str, Any]]:
    """Every response of the pairs as a labelled row; rows of one prompt apart, as rlguide's views of pairs are."""
    good = [{"prompt": p, "response": c, "label": True} for p, c, _ in rows]
    bad = [{"prompt": p, "response": r, "label": False} for p, _, r in rows[1:] + rows[:1]]
    return [row for both in zip(good, bad, strict=True) for row in both]


def kto_entry() -> dict[str, Any]:
    """How the engine reads labelled rows."""
    return {"columns": {"prompt": "prompt", "response": "response", "kto_tag": "label"}}


def config_of(run: dict[str, Any]) -> dict[str, Any]:
    """The whole config of a run."""
    method = METHODS[run["method"]]
    kind = {"kto": "kto", "sft": "sft"}.get(method["stage"], "pairs")
    data = f"{run.get('data', 'obey')}_{kind}"
    config = {**COMMON, **method, "dataset": data, "eval_dataset": f"{data}_test", **run.get("set", {})}
    return {key: value for key, value in config.items() if value is not None}


def prepare() -> None:
    """Train the SFT adapter that all runs stand on, and a model with it merged in."""
    from llamafactory.train.tuner import export_model, run_exp

    data = {"dataset": "sft_first", "eval_dataset": None, "eval_strategy": "no"}
    sft = config_of({"method": "sft", "set": {**data, "max_steps": 20, "output_dir": "sft"}})
    with quiet():
        run_exp(args=sft)
        names = ("model_name_or_path", "template", "finetuning_type")
        export_model({**{key: COMMON[key] for key in names}, "adapter_name_or_path": "sft", "export_dir": "merged"})


def train(config: dict[str, Any]) -> dict[str, Any]:
    """Train in this process, in a fresh folder; returns the figures of the data, and the logs."""
    import data_figures
    from llamafactory.train.tuner import run_exp
    from rlguide_events import Events, make_callback

    with tempfile.TemporaryDirectory(dir=".") as out, quiet():
        told = Events(f"{out}/events.jsonl")
        callbacks = [make_callback(told), data_figures.make_callback(told, config)]
        run_exp(args={**config, "output_dir": f"{out}/run"}, callbacks=callbacks)
        events = [json.loads(line) for line in Path(out, "events.jsonl").read_text(encoding="utf-8").splitlines()]
    data = next((event for event in events if event["event"] == "data"), {})
    rows = [{"step": event["step"], **event["values"]} for event in events if event["event"] == "log"]
    return {
        "data": {key: value for key, value in data.items() if key not in ("event", "time")},
        "train": columns([row for row in rows if "loss" in row]),
        "eval": columns([row for row in rows if "eval_loss" in row]),
    }


def columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Logs as a list for each of their keys."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    keys = [key for key in keys if key in KEPT or not key.endswith(LEFT_OUT)]
    return {key: [short(row.get(key)) for row in rows] for key in keys}


def short(value: Any) -> Any:
    """A number with five digits."""
    return float(f"{value:.5g}") if isinstance(value, float) and math.isfinite(value) else value


def attempt(config: dict[str, Any]) -> dict[str, Any]:
    """As `train`; what the engine raised, if it did."""
    try:
        return train(config)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


@contextlib.contextmanager
def workspace() -> Any:
    """A fresh workspace as the current folder, with the engine imported."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="", TOKENIZERS_PARALLELISM="false")
        os.environ.update(OMP_NUM_THREADS="1", HF_DATASETS_CACHE=f"{folder}/cache", LLAMAFACTORY_VERBOSITY="ERROR")
        os.chdir(folder)
        context = multiprocessing.get_context("fork")
        with quiet():
            importlib.import_module("llamafactory.train.tuner")
            logging.disable(logging.WARNING)
            with context.Pool(1) as pool:  # what has trained cannot fork
                pool.apply(make_workspace, (Path(folder),))
            with context.Pool(1) as pool:
                pool.apply(prepare)
        yield


def main() -> None:
    """Train what was asked for."""
    runs = yaml.safe_load(RUNS.read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description="Train runs that are broken on purpose, and sound ones.")
    parser.add_argument("--run", action="append", choices=list(runs), metavar="NAME", help="only these (repeat)")
    parser.add_argument("--round", type=int, help="only those of this round")
    parser.add_argument("--out", type=Path, default=OUT, help="where their logs go")
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    with workspace():
        import_what_is_needed({**config_of({"method": "dpo"}), "max_steps": 1, "eval_strategy": "no"})
        with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
            for name in options.run or [name for name in runs if options.round in (None, runs[name].get("round", 1))]:
                started, config = time.monotonic(), config_of(runs[name])
                found = pool.apply(attempt, (config,))
                text = json.dumps({"name": name, "config": config, **found}, separators=(",", ":"))
                (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
                print(f"{name:28} {time.monotonic() - started:5.1f} s  {found.get('error', '')[:150]}", flush=True)


if __name__ == "__main__":
    main()
