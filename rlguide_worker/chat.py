"""Load a policy with LLaMA-Factory's own loader and generate responses, as JSON lines over stdin and stdout.

    python chat.py        the first line on stdin is {"args": {LLaMA-Factory keys}}; then one request a line:

    {"messages": [{"role", "content"}...], "generation": {"max_new_tokens", "temperature", "top_p"}}
        -> {"event": "delta", "text"}... {"event": "done", "reason": "stop" | "length" | "stopped"}
           before them {"event": "note", "text"} where there is something to say of the request
    {"stop": true}                     ends the response that is being generated
    {"conversations": [[...]...], "generation": {"max_new_tokens"}, "batch_size": 16 or null}
        -> {"event": "response", "index", "text", "reason"}... {"event": "done"}     greedy decoding, in padded batches

Before the first request comes {"event": "ready"}; any failure is {"event": "error", "kind", "text"}. When stdin
ends, the process ends at once, so it never outlives the one that started it. The prompt is encoded by the
template of LLaMA-Factory, hence token for token as in training.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import traceback
from typing import Any

import few_imports
import vllm_responses
from generation import Model, Pieces
from protocol import leave, send, send_error

# Conversations at once. More is faster, but without a GPU a process that takes too much memory is killed and cannot try
# again with fewer, so a large model gets few.
AT_ONCE, OF_A_LARGE_ONE = 64, 16
LARGE = 1_000_000_000  # parameters

_requests: queue.Queue[dict[str, Any]] = queue.Queue()
_stop = threading.Event()


def read_requests() -> None:
    """Queue the requests; runs in a thread of its own, so that `stop` is read while a response is generated."""
    try:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            if request.get("stop"):
                _stop.set()
            else:
                _stop.clear()  # a stop counts for the request before it; the next one is only sent after its end
                _requests.put(request)
    finally:
        leave(0)


def respond(model: Model, messages: list[dict[str, str]], settings: dict[str, Any]) -> None:
    """Stream one response."""
    import torch
    from transformers import StoppingCriteriaList

    def is_stopped(input_ids: Any, scores: Any, **_: Any) -> Any:
        return torch.full((input_ids.shape[0],), _stop.is_set(), device=input_ids.device, dtype=torch.bool)

    config = model.generation_config(settings)
    ids, dropped = model.encode_within(messages, config.max_new_tokens)
    if dropped:
        send("note", text=f"the conversation is too long for the model: its oldest {dropped} messages were left out")
    inputs = torch.tensor([ids], device=model.model.device)
    with torch.inference_mode():
        output = model.model.generate(
            inputs=inputs,
            attention_mask=torch.ones_like(inputs),
            generation_config=config,
            streamer=Pieces(model.tokenizer, lambda text: send("delta", text=text)),
            stopping_criteria=StoppingCriteriaList([is_stopped]),
        )
    last = int(output[0, -1])
    send("done", reason="stopped" if _stop.is_set() else "stop" if last in model.stops else "length")


def respond_all(model: Model, conversations: list[list[dict[str, str]]], settings: dict[str, Any], size: int) -> None:
    """Respond to many conversations greedily, in batches of similar length; a batch that does not fit is halved."""
    import torch

    if not size:
        size = OF_A_LARGE_ONE if model.parameters > LARGE and model.model.device.type == "cpu" else AT_ONCE

    config = model.generation_config({**settings, "temperature": 0.0})
    prompts = [model.encode_within(messages, config.max_new_tokens)[0] for messages in conversations]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)  # the hardest first
    if vllm_responses.usable(model):
        order = respond_by_vllm(model, prompts, order, config.max_new_tokens)
    while order and not _stop.is_set():
        batch = order[:size]
        try:
            found = generate_batch(model, [prompts[index] for index in batch], config)
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size = max(1, size // 2)
            torch.cuda.empty_cache()
            continue
        order = order[size:]
        for index, tokens in zip(batch, found, strict=True):
            send_response(model, index, tokens, config.max_new_tokens)
    send("done")


def respond_by_vllm(model: Model, prompts: list[list[int]], order: list[int], limit: int) -> list[int]:
    """Respond to the prompts in `order` by vLLM; returns those that are left if it fails, which is said."""
    left = list(order)
    try:
        for place, tokens in vllm_responses.responses(model, [prompts[index] for index in order], limit):
            send_response(model, order[place], tokens, limit)
            left.remove(order[place])
            if _stop.is_set():
                break
    except Exception as error:  # whatever another package's engine may raise: transformers can do it, too
        traceback.print_exception(error)
        send("note", text=f"vLLM failed ({type(error).__name__}), so transformers generates, which is slower")
        model.model.to("cuda")
    return left


def send_response(model: Model, index: int, tokens: list[int], limit: int) -> None:
    """Send one response; `tokens` without the one that ends it. With as many as the limit it was cut."""
    text = model.tokenizer.decode(tokens, skip_special_tokens=True)
    send("response", index=index, text=text, reason="length" if len(tokens) >= limit else "stop")


def generate_batch(model: Model, prompts: list[list[int]], config: Any) -> list[list[int]]:
    """Tokens of the responses to prompts of any length, without those that end them."""
    import torch

    inputs, mask = model.padded(prompts)
    with torch.inference_mode():
        output = model.model.generate(inputs=inputs, attention_mask=mask, generation_config=config)
    rows = output[:, inputs.shape[1] :].tolist()
    return [row[: model.end_of(row)] for row in rows]


def fail(error: BaseException) -> None:
    """Report a failure; the traceback goes to the log."""
    traceback.print_exception(error)
    send_error(error)


def main() -> None:
    """Load, say so, then serve requests until stdin ends."""
    few_imports.leave_out_most()

    first = json.loads(sys.stdin.buffer.readline() or b"{}")
    threading.Thread(target=read_requests, daemon=True).start()
    try:
        model = Model(first["args"])
    except BaseException as error:
        fail(error)
        leave(1)
    weights = sum(weight.nbytes for weight in model.model.parameters())
    send("ready", device=str(model.model.device), parameters=model.parameters, bytes=weights)
    while True:
        request = _requests.get()
        settings = request.get("generation") or {}
        try:
            if "conversations" in request:
                respond_all(model, request["conversations"], settings, request.get("batch_size") or 0)
            else:
                respond(model, request["messages"], settings)
        except Exception as error:
            fail(error)


if __name__ == "__main__":
    main()
