"""How far a policy has moved from its reference, on answers that it samples itself.

usage: sample_kl.py REQUEST.json

REQUEST: {"args": LLaMA-Factory's keys of the policy, "reference": those of the reference, null if it is the policy
without its last adapter (then one model is in memory, not two), "conversations": [[{"role", "content"}...]...],
"max_new_tokens", "batch_size", "seed"}

Answers are sampled at temperature 1 and top-p 1, since only then are they the policy's own, and scored by both:

    KL(pi || pi_ref) of the answers to a prompt = E over answers y of sum_t KL(pi(. | y_<t) || pi_ref(. | y_<t))

The inner divergence is computed exactly over the whole vocabulary along each sampled answer, instead of the log-ratio
of the sampled token alone: the same mean with less variance, and never negative (Rao-Blackwellized estimator,
arXiv 2504.10637, section 3). Lines on stdout:

{"phase": what is done now}
{"index", "tokens", "kl": in nats, "log_ratio": log pi(y) - log pi_ref(y) of the sampled tokens, "is_whole", "text"}

`is_whole`: the answer ended by itself within max_new_tokens.
"""

import contextlib
import json
import os
import sys

import few_imports
from loaded import Loaded
from match_logits import tell


def main() -> None:
    """Sample and score every conversation; exit code 0 when all are."""
    few_imports.leave_out_most()
    import torch

    with open(sys.argv[1], encoding="utf-8") as file:
        request = json.load(file)
    tell(phase="loading the policy")
    is_on_top = request["reference"] is None
    policy = Loaded(request["args"], leave_last=is_on_top)
    if is_on_top:
        policy.add_last()
    prompts = [policy.encode(messages)[0] for messages in request["conversations"]]
    waiting = {}  # answers that the reference, which is not loaded yet, has not scored
    torch.manual_seed(request["seed"])
    for batch in batches(prompts, request["batch_size"]):
        answers = dict(zip(batch, sampled(policy, [prompts[index] for index in batch], request), strict=True))
        if is_on_top:
            score(policy, policy, prompts, answers)
        else:
            waiting.update(answers)
            tell(phase=f"sampled {len(waiting)} of {len(prompts)} responses")
    if waiting:
        tell(phase="loading the reference")
        score(policy, Loaded(request["reference"]), prompts, waiting)


def score(policy, reference, prompts, answers):
    """Tell the divergence of each answer, a dict of tokens by the index of its prompt."""
    for index, tokens in answers.items():
        of_policy = logps(policy, prompts[index], tokens)
        with policy.model.disable_adapter() if reference is policy else contextlib.nullcontext():
            of_reference = logps(reference, prompts[index], tokens)
        text = policy.tokenizer.decode(tokens, skip_special_tokens=True)
        is_whole = bool(tokens) and tokens[-1] in policy.stops
        told = divergence(of_policy, of_reference, tokens)
        tell(index=index, tokens=len(tokens), **told, is_whole=is_whole, text=text)


def batches(prompts, size: int):
    """Indices of prompts of about the same length, `size` at a time."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    return [order[start : start + size] for start in range(0, len(order), size)]


def sampled(loaded, prompts, request) -> list:
    """Tokens of an answer to each prompt, the one that ends it included."""
    import torch
    from transformers import GenerationConfig

    ids, mask = loaded.padded(prompts)
    config = GenerationConfig(
        do_sample=True, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=request["max_new_tokens"],
        eos_token_id=loaded.stops, pad_token_id=loaded.tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.inference_mode():
        rows = loaded.model.generate(inputs=ids, attention_mask=mask, generation_config=config)
    return [row[: loaded.end_of(row) + 1] for row in rows[:, ids.shape[1] :].tolist()]


def logps(loaded, prompt, answer):
    """Log-probabilities (T, V), float32, of every token of the vocabulary before each token of the answer."""
    import torch

    ids = torch.tensor([[*prompt, *answer]], device=loaded.model.device)
    with torch.inference_mode():
        logits = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    return logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)


def divergence(policy, reference, tokens) -> dict:
    """The KL divergence summed along an answer, and the log-ratio of its tokens, both in nats.

    `policy`, `reference`: log-probabilities (T, V); `tokens`: the T that were sampled.
    """
    import torch

    kl = (policy.exp() * (policy - reference)).sum()
    at = torch.tensor(tokens, device=policy.device).unsqueeze(-1)
    ratio = (policy.gather(-1, at) - reference.to(policy.device).gather(-1, at)).sum()
    return {"kl": max(0.0, float(kl)), "log_ratio": float(ratio)}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # only this program's JSON may reach the real stdout
        main()
    sys.stdout.flush()
    os._exit(0)
