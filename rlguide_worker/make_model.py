"""Make a small Qwen3 chat model and its tokenizer from nothing: an ordinary checkpoint in a folder.

    python make_model.py --out DIR                                        random weights, byte-level tokenizer
    python make_model.py --out DIR --corpus FILE --train-steps 1200       tokenizer and weights learnt from FILE

The corpus is JSON lines, each {"prompt": ..., "response": ...} (rendered as one chat turn; the loss is on the
response only) or {"text": ..., "context": ...} (plain text; no loss on the context, which may be absent).
Progress is JSON lines on stdout: {"event": "start" | "model" | "step" | "done" | "error", ...}.
The chat format is ChatML without thinking, which LLaMA-Factory calls `qwen3_nothink`.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IGNORED = -100  # the label that torch's cross entropy leaves out
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def report(event: str, **values: Any) -> None:
    """Print one line of JSON for the process that started this one."""
    print(json.dumps({"event": event, **values}, ensure_ascii=False), flush=True)


def read_corpus(path: Path) -> list[tuple[str, str]]:
    """Read (context, learnt text) pairs. Raises ValueError naming the line that is not as described above."""
    rows: list[tuple[str, str]] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        row = json.loads(line)
        if "text" in row:
            rows.append((row.get("context", ""), row["text"] + END_OF_TEXT))
        elif "prompt" in row and "response" in row:
            context = f"{TURN_START}user\n{row['prompt']}{TURN_END}\n{TURN_START}assistant\n"
            rows.append((context, f"{row['response']}{TURN_END}\n"))
        else:
            raise ValueError(f"{path}, line {number}: neither 'text' nor 'prompt' and 'response'")
    return rows


def make_tokenizer(texts: list[str], vocabulary: int) -> Any:
    """Byte-level BPE with ChatML's special tokens; every byte is in it, so no text is out of vocabulary."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import Qwen2TokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # As Qwen splits: words, single digits, punctuation, white space; but each Chinese character alone,
            # else a small corpus makes one token of a whole phrase and the model learns nothing about its parts.
            pre_tokenizers.Split(
                Regex(r"\p{Han}| ?[\p{L}&&[^\p{Han}]]+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), behavior="isolated"
            ),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return Qwen2TokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        unk_token=None,
        bos_token=None,
        additional_special_tokens=[TURN_START],
        model_max_length=2048,
        chat_template=CHAT_TEMPLATE,
    )


def make_model(tokenizer: Any, layers: int, hidden: int, seed: int) -> Any:
    """A Qwen3 with random weights; heads of 32 values, two query heads to a key head."""
    import torch
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    heads = max(2, hidden // 32)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=hidden * 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        head_dim=32,
        max_position_embeddings=2048,
        rope_theta=10_000.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=128
    )
    return model


def encode(tokenizer: Any, rows: list[tuple[str, str]], longest: int = 512) -> list[tuple[list[int], list[int]]]:
    """Token ids and labels of each row; no loss on the context."""
    contexts = tokenizer([context for context, _ in rows], add_special_tokens=False)["input_ids"]
    learnt = tokenizer([text for _, text in rows], add_special_tokens=False)["input_ids"]
    return [
        ((before + after)[:longest], ([IGNORED] * len(before) + after)[:longest])
        for before, after in zip(contexts, learnt, strict=True)
    ]


def batches(examples: list[tuple[list[int], list[int]]], size: int, seed: int) -> Any:
    """Endless batches of examples of similar length (little padding), in a seeded random order."""
    order = random.Random(seed)
    while True:
        by_length = sorted(examples, key=lambda example: (len(example[0]), order.random()))
        groups = [by_length[start : start + size] for start in range(0, len(by_length), size)]
        order.shuffle(groups)
        yield from groups


def train(
    model: Any, tokenizer: Any, rows: list[tuple[str, str]], steps: int, batch: int, rate: float, seed: int
) -> None:
    """Train all weights with AdamW, a short warm-up and a cosine decay; report about once a second."""
    import torch

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.95))
    warmup = max(1, steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps))),
    )
    started = said = time.monotonic()
    source = batches(encode(tokenizer, rows), batch, seed)
    for step in range(1, steps + 1):
        group = next(source)
        width = max(len(ids) for ids, _ in group)
        pad = tokenizer.pad_token_id
        ids = torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in group], device=device)
        labels = torch.tensor([row + [IGNORED] * (width - len(row)) for _, row in group], device=device)
        # Padding is on the right and causal attention never looks there, so no mask is needed.
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        wanted = labels[:, 1:]
        kept = wanted != IGNORED
        loss = torch.nn.functional.cross_entropy(model.lm_head(hidden[kept]), wanted[kept])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        now = time.monotonic()
        if now - said >= 1.0 or step == steps:
            said = now
            report("step", step=step, steps=steps, loss=round(loss.item(), 4), seconds=round(now - started, 1))


def save(model: Any, tokenizer: Any, out: Path) -> None:
    """Write the checkpoint beside `out` and rename it, so that `out` is whole or absent."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        model.to("cpu").save_pretrained(temporary, safe_serialization=True)
        tokenizer.save_pretrained(temporary)
        temporary.chmod(0o755)
        if out.is_dir():
            out.rmdir()  # only ever empty: see main()
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make a small Qwen3 chat model and its tokenizer.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint; must be absent or empty")
    parser.add_argument("--corpus", type=Path, help="JSON lines to learn from")
    parser.add_argument("--train-steps", type=int, default=0, help="0: leave the weights random")
    parser.add_argument("--tiny", action="store_true", help="the defaults: 2 layers, hidden 64, untrained")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=64, help="a multiple of 64")
    parser.add_argument("--vocab", type=int, default=2000, help="at most this many tokens (at least 259)")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.hidden % 64:
        parser.error("--hidden must be a multiple of 64")
    if options.train_steps and not options.corpus:
        parser.error("--train-steps needs a --corpus")
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        parser.error(f"{options.out} is there already and not empty")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Make the model; return 0, or 1 after reporting an error."""
    options = parse(arguments)
    started = time.monotonic()
    report("start", out=str(options.out), steps=options.train_steps)
    try:
        rows = read_corpus(options.corpus) if options.corpus else []
        if options.corpus and not rows:
            raise ValueError(f"{options.corpus} is empty")
    except (OSError, ValueError) as error:
        report("error", message=str(error))
        return 1
    texts = [re.sub(r"<\|\w+\|>", "\n", context + text) for context, text in rows]  # special tokens are not text
    tokenizer = make_tokenizer(texts, options.vocab)
    model = make_model(tokenizer, options.layers, options.hidden, options.seed)
    size = sum(weights.numel() for weights in model.parameters())
    report("model", parameters=size, vocabulary=len(tokenizer), seconds=round(time.monotonic() - started, 1))
    if options.train_steps:
        train(model, tokenizer, rows, options.train_steps, options.batch, options.learning_rate, options.seed)
    save(model, tokenizer, options.out)
    report("done", out=str(options.out), seconds=round(time.monotonic() - started, 1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
