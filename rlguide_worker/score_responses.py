"""Score responses with a reward model, as LLaMA-Factory's own evaluation scores them.

usage: score_responses.py ARGUMENTS.json rewards|texts < REQUESTS.jsonl

ARGUMENTS: LLaMA-Factory's keys for inference of a stage `rm`, and "autocast": "bfloat16", "float16" or null, what the
evaluation computes in (Trainer, `bf16` and `fp16`). REQUESTS, a line each, read as they are needed:
{"index", "messages": [{"role", "content"}...] that end with the user, "responses": one, or two of a pair}

Tokens and truncation are those of the engine's dataset of pairs (data/processor/pairwise.py): the responses of a pair
are cut to one length. Lines on stdout, as they come:
{"phase": what is done now}
rewards: {"index", "rewards": [float...], "cut": tokens that were left out}
texts:   {"index", "texts": [the tokens that would be scored, as text...], "tokens": [their number...], "cut"}; no model
         is loaded. It is for a server that makes tokens of texts itself, so a text that would give others is an error
{"index", "error": why it cannot be scored}
"""

import contextlib
import inspect
import json
import os
import sys
from itertools import islice

import few_imports
from loaded import Prompts
from match_logits import tell

WINDOW = 256  # requests that are in memory, and put into batches by their length
AT_ONCE = 16  # responses; halved where they do not fit into memory


def main() -> None:
    """Score every request; exit code 0 when all are done."""
    few_imports.leave_out_most()
    arguments, mode = json.loads(sys.argv[1]), sys.argv[2]
    precision = arguments.pop("autocast", None)
    tell(phase="loading the tokenizer" if mode == "texts" else "loading the reward model")
    model = Encoder(arguments) if mode == "texts" else RewardModel(arguments, precision)
    requests = map(json.loads, sys.stdin)
    while window := list(islice(requests, WINDOW)):
        encoded = []
        for request in window:
            try:
                encoded.append((request["index"], *model.sequences(request["messages"], request["responses"])))
            except Exception as error:  # one conversation that a template refuses; the others go on
                tell(index=request["index"], error=f"{type(error).__name__}: {error}"[:300])
        model.tell_all(encoded)


class Encoder(Prompts):
    """The tokenizer and the template of a reward model."""

    def sequences(self, messages, responses):
        """(tokens of prompt and response for each response, number of tokens that were cut off)."""
        from llamafactory.data.processor.processor_utils import infer_seqlen

        encoded = [self.encode(messages, response) for response in responses]
        prompt = encoded[-1][0]
        ends = [tokens + [self.tokenizer.eos_token_id] * self.template.efficient_eos for _, tokens in encoded]
        source, target = infer_seqlen(len(prompt), max(map(len, ends)), self.data_args.cutoff_len)
        cut = len(prompt[source:]) + sum(len(end[target:]) for end in ends)
        return [prompt[:source] + end[:target] for end in ends], cut

    def tell_all(self, encoded):
        """Tell the texts that give these tokens."""
        for index, sequences, cut in encoded:
            texts = [self.tokenizer.decode(ids, skip_special_tokens=False) for ids in sequences]
            again = [self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
            if again == sequences:
                tell(index=index, texts=texts, tokens=[len(ids) for ids in sequences], cut=cut)
            else:
                tell(index=index, error="its tokens cannot be sent as text")


class RewardModel(Encoder):
    """A reward model with its whole stack and its value head, the last adapter beside the weights as in training."""

    def __init__(self, arguments, precision):
        from llamafactory.extras.misc import get_current_device
        from llamafactory.model import load_model
        from score_pairs import keep_last_adapter_apart

        super().__init__(arguments)
        keep_last_adapter_apart()
        # As in training. With "auto", as for inference, trl refuses a value head on a CPU (trl 0.19.1,
        # models/modeling_value_head.py).
        self.model_args.device_map = {"": get_current_device()}
        self.model = load_model(
            self.tokenizer, self.model_args, self.finetuning_args, is_trainable=False, add_valuehead=True
        )
        self.device = next(self.model.parameters()).device
        self.precision, self.size = precision, AT_ONCE
        base = self.model.pretrained_model
        base = base.get_base_model() if hasattr(base, "get_base_model") else base
        # Only the last hidden state is needed; logits of every token would be the largest tensor by far.
        keeps = "logits_to_keep" in inspect.signature(base.forward).parameters
        self.options = {"logits_to_keep": 1} if keeps else {}

    def tell_all(self, encoded):
        """Tell the rewards of these sequences, in batches of about the same length."""
        import torch

        left = sorted(encoded, key=lambda item: max(map(len, item[1])), reverse=True)
        while left:
            batch = left[: max(1, self.size // 2)]
            try:
                found = iter(self.rewards([ids for _, sequences, _ in batch for ids in sequences]))
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                self.size = len(batch)
                torch.cuda.empty_cache()
                continue
            left = left[len(batch) :]
            for index, sequences, cut in batch:
                tell(index=index, rewards=list(islice(found, len(sequences))), cut=cut)

    def rewards(self, sequences):
        """The value at the last token of each, as float32."""
        import torch

        width = max(map(len, sequences))
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in sequences], device=self.device)
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in sequences], device=self.device)
        mixed = contextlib.nullcontext()
        if self.precision and self.device.type == "cuda":
            mixed = torch.autocast(self.device.type, getattr(torch, self.precision))
        with torch.inference_mode(), mixed:
            values = self.model(input_ids=ids, attention_mask=mask, return_dict=True, use_cache=False, **self.options)[
                -1
            ]
        return values.gather(-1, mask.sum(-1, keepdim=True) - 1).squeeze(-1).float().tolist()


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # only this program's JSON may reach the real stdout
        main()
    sys.stdout.flush()
    os._exit(0)  # nothing is left to do; the interpreter's own end can hang on the engine's threads
