"""Time many answers: rlguide's worker against plain `transformers.generate` at its best batch size, in turn.

    python scripts/bench_answers.py                     300 prompts x 64 tokens, SmolLM2-135M's shapes
    python scripts/bench_answers.py --model FOLDER      a model of yours (template: --template)

Run it with the engine's Python. Both answer the bundled English prompts greedily on the CPU in float32; plain generate
gets them in their order, padded on the left, in batches of each size. Printed are the median seconds without loading,
tokens a second, and the ratio to the best batch size. Random weights end no answer, so that all are of full length.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
BATCHES = (8, 16, 32, 64)


def main() -> None:
    """Time both in turn and print a table."""
    parser = argparse.ArgumentParser(description="Time answers in batches.")
    parser.add_argument("--model", help="folder of a model; one with SmolLM2-135M's shapes is made by default")
    parser.add_argument("--template", default="qwen3_nothink")
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    os.environ.update(HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES="")
    with tempfile.TemporaryDirectory() as name:
        if options.model is None:
            from bench_train import make_workspace

            make_workspace(Path(name), 49152, 160, 1)
        measure(options, options.model or f"{name}/model")


def measure(options: argparse.Namespace, model: str) -> None:
    """Print the table."""
    from rlguide.engine.chat import ChatSession
    from rlguide.engine.find import find_engine
    from rlguide.evaluation.instructions.prompts import load_prompts

    prompts = [prompt.prompt for prompt in load_prompts() if prompt.language == "en"][: options.prompts]
    conversations = [[{"role": "user", "content": prompt}] for prompt in prompts]
    args = {"model_name_or_path": model, "template": options.template, "infer_dtype": "float32"}
    plain = Plain(model)
    with ChatSession(find_engine(None), args, Path.cwd()) as session:

        def ours() -> int:
            return len(list(session.responses(conversations, max_new_tokens=options.tokens)))

        ways: dict[str, Callable[[], int]] = {"rlguide": ours}
        for size in BATCHES:
            ways[f"generate, batches of {size}"] = lambda size=size: plain.answers(prompts, size, options.tokens)
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(options.runs):
            for way, run in ways.items():
                begin = time.monotonic()
                if run() != len(prompts):
                    raise SystemExit(f"{way} did not answer all prompts")
                taken[way].append(time.monotonic() - begin)
    median = {way: statistics.median(times) for way, times in taken.items()}
    best = min(value for way, value in median.items() if way != "rlguide")
    print("| way | seconds | tokens/s at most | ratio to the best generate |\n|---|---|---|---|")
    for way, seconds in median.items():
        print(f"| {way} | {seconds:.1f} | {len(prompts) * options.tokens / seconds:.0f} | {seconds / best:.2f} |")


class Plain:
    """`transformers.generate`, as someone would write it in ten lines."""

    def __init__(self, model: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(model, padding_side="left")
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.model: Any = AutoModelForCausalLM.from_pretrained(model, torch_dtype=torch.float32).eval()

    def answers(self, prompts: list[str], size: int, tokens: int) -> int:
        """The number of answers, all made."""
        import torch

        texts = [f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n" for prompt in prompts]
        found: list[str] = []
        for start in range(0, len(texts), size):
            batch = self.tokenizer(texts[start : start + size], return_tensors="pt", padding=True)
            with torch.inference_mode():
                output = self.model.generate(
                    **batch, max_new_tokens=tokens, do_sample=False, pad_token_id=self.tokenizer.pad_token_id
                )
            width = batch["input_ids"].shape[1]
            found += self.tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
        return len(found)


if __name__ == "__main__":
    main()
