"""Time whole DPO trainings: rlguide's against `llamafactory-cli train` on the same config, in turn.

    python scripts/bench_train.py                                   SmolLM2-135M's shapes, 3 epochs, 2 x 160 tokens
    python scripts/bench_train.py --epochs 1 --epochs 2 --length 512 --vocabulary 151936
    python scripts/bench_train.py --trl /path/to/python             and TRL 1.16, with its options for the same ends

Run it with the engine's Python. The model has SmolLM2-135M's shapes and random weights, which take the same time. A
LoRA adapter (rank 8) is trained on 8 pairs, one at a time, in float32 on the CPU. Printed are the medians of the
seconds that the engine reports (train_runtime: without imports and loading), the ratio, and whether the adapters are
the same bytes. TRL needs an environment of its own, with the engine's torch, transformers and peft, trl 1.16 and
datasets 4.7 or later.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SMOLLM2 = {  # config.json of HuggingFaceTB/SmolLM2-135M
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 576, "intermediate_size": 1536,
    "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
    "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000, "dtype": "float32",
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "model_name_or_path": "model",
    "stage": "dpo",
    "do_train": True,
    "finetuning_type": "lora",
    "lora_rank": 8,
    "lora_target": "all",
    "dataset": "pairs",
    "dataset_dir": "data",
    "template": "qwen3_nothink",
    "per_device_train_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": 5e-5,
    "lr_scheduler_type": "linear",
    "pref_beta": 0.1,
    "logging_steps": 1,
    "save_strategy": "no",
    "use_cpu": True,
    "report_to": "none",
    "overwrite_cache": True,
    "overwrite_output_dir": True,
}
# The same training by TRL: argv is the folder, epochs, length. It prints its train_runtime and the number of pairs.
TRL = """
import json, sys
from pathlib import Path
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer
folder, epochs, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
rows = json.loads(Path(folder, "data/pairs.json").read_text())
tokenizer = AutoTokenizer.from_pretrained(f"{folder}/model")
trainer = DPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(f"{folder}/model", dtype="float32"),
    args=DPOConfig(output_dir=f"{folder}/trl", num_train_epochs=epochs, per_device_train_batch_size=1,
        gradient_accumulation_steps=1, learning_rate=5e-5, beta=0.1, max_length=length + 32, logging_steps=1,
        save_strategy="no", report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=False,
        precompute_ref_log_probs=True, disable_tqdm=True),
    train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
    peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
)
import time
begin = time.monotonic()
result = trainer.train()
print("RESULT", json.dumps([time.monotonic() - begin, len(trainer.train_dataset)]))
"""


def main() -> None:
    """Time what was asked for and print a table."""
    parser = argparse.ArgumentParser(description="Time DPO trainings of rlguide and of LLaMA-Factory.")
    parser.add_argument("--epochs", action="append", type=int, help="3 by default; repeatable")
    parser.add_argument("--length", action="append", type=int, help="tokens of a response with its prompt; 160")
    parser.add_argument("--vocabulary", action="append", type=int, help="49152 by default")
    parser.add_argument("--pairs", type=int, default=8, help="fewer for long ones; 8 by default")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turn")
    parser.add_argument("--trl", help="Python of an environment with TRL 1.16")
    options = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="", OMP_WAIT_POLICY="PASSIVE")
    heads = ("epochs", "tokens", "vocabulary", "engine", "rlguide", "ratio", "same bytes", "TRL")
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for vocabulary in options.vocabulary or [49152]:
        for length in options.length or [160]:
            for epochs in options.epochs or [3]:
                with tempfile.TemporaryDirectory() as name:
                    make_workspace(Path(name), vocabulary, length, options.pairs)
                    print(row(Path(name), epochs, length, vocabulary, options.runs, options.trl), flush=True)


def row(folder: Path, epochs: int, length: int, vocabulary: int, runs: int, trl: str | None) -> str:
    """One line of the table."""
    config = {**CONFIG, "num_train_epochs": epochs, "cutoff_len": length}
    ways: dict[str, Callable[[], float]] = {
        "engine": lambda: engine(folder, {**config, "output_dir": "engine"}, is_plain=True),
        "rlguide": lambda: engine(folder, {**config, "output_dir": "rlguide"}, is_plain=False),
    }
    if trl:
        ways["trl"] = lambda: peer(folder, trl, epochs, length)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(runs):
        for way, run in ways.items():
            taken[way].append(run())
    median = {way: statistics.median(times) for way, times in taken.items()}
    one, other = (folder / way / "adapter_model.safetensors" for way in ("engine", "rlguide"))
    cells = [
        epochs, f"2 x {length}", vocabulary, f"{median['engine']:.1f} s", f"{median['rlguide']:.1f} s",
        f"{median['engine'] / median['rlguide']:.2f}", "yes" if one.read_bytes() == other.read_bytes() else "NO",
        f"{median['trl']:.1f} s" if trl else "",
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def engine(folder: Path, config: dict[str, Any], is_plain: bool) -> float:
    """Seconds of a training by llamafactory-cli, or by rlguide's worker."""
    (folder / "config.yaml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    worker = [sys.executable, str(ROOT / "rlguide_worker/train.py"), "config.yaml", "events.jsonl"]
    plain = [str(Path(sys.executable).with_name("llamafactory-cli")), "train", "config.yaml"]
    output(plain if is_plain else worker, folder)
    results = json.loads((folder / config["output_dir"] / "train_results.json").read_text(encoding="utf-8"))
    return float(results["train_runtime"])


def peer(folder: Path, python: str, epochs: int, length: int) -> float:
    """Seconds of the same training by TRL."""
    text = output([python, "-c", TRL, str(folder), str(epochs), str(length)], folder)
    seconds, pairs = json.loads(next(line for line in text.splitlines() if line.startswith("RESULT"))[7:])
    if pairs != (wanted := len(json.loads((folder / "data/pairs.json").read_text(encoding="utf-8")))):
        raise SystemExit(f"TRL trained on {pairs} pairs, not on {wanted}")
    return float(seconds)


def output(command: list[str], folder: Path) -> str:
    """The standard output of a command. Raises SystemExit with what it said if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-3000:])
    return done.stdout


def make_workspace(folder: Path, vocabulary: int, length: int, pairs: int, layers: int = 30) -> None:
    """A model with random weights, its tokenizer, and pairs of about `length` tokens, a third of them the prompt."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    sys.path.insert(0, str(ROOT / "rlguide_worker"))
    from make_model import make_tokenizer

    tokenizer = make_tokenizer(["What is the capital of this country? It is a large town by a river. " * 9], 400)
    tokenizer.save_pretrained(folder / "model")
    shapes = {**SMOLLM2, "vocab_size": vocabulary, "num_hidden_layers": layers}
    config = AutoConfig.for_model(**shapes, eos_token_id=tokenizer.eos_token_id)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "model")
    words = ["the", "large", "town", "by", "this", "river", "is", "a", "capital", "of", "what", "country"]
    rows = []
    for number in range(pairs):
        text = " ".join(words[(number + index * (number + 1)) % len(words)] for index in range(2 * length))
        ids = tokenizer(text)["input_ids"]
        third = length // 3
        parts = [tokenizer.decode(ids[:third]), *(
            tokenizer.decode(ids[start : start + length - third - 16]) for start in (third, third + 7)
        )]  # fmt: skip
        rows.append(dict(zip(("prompt", "chosen", "rejected"), parts, strict=True)))
    (folder / "data").mkdir()
    (folder / "data/pairs.json").write_text(json.dumps(rows), encoding="utf-8")
    columns = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    info = {"pairs": {"file_name": "pairs.json", "ranking": True, "columns": columns}}
    (folder / "data/dataset_info.json").write_text(json.dumps(info), encoding="utf-8")


if __name__ == "__main__":
    main()
