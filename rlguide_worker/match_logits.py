"""Score fixed prompts with a stack and with the model that was merged from it.

usage: match_logits.py ARGUMENTS.json MERGED_ARGUMENTS.json

Both are objects of LLaMA-Factory keys for inference: those of the stack (with its adapters) and those of the merged
folder. One model is in memory at a time. Lines on stdout:

{"phase": what is done now}
{"model": "trained" | "stack" | "merged", "rows": [{"tokens", "logps", "greedy", "gaps"}...]}   one row a prompt

"trained" is the stack as its last adapter was trained: the others merged, this one beside the weights. "stack" is the
same model with the last one merged too, as LLaMA-Factory's chat, API server and evaluation load it. `tokens` are those
of prompt and response, `logps` the log-probability in nats of each token of the response, `greedy` the first tokens of
the model's own response (not of "trained"), `gaps` how far the log-probability of each is above that of the next best.
"""

import contextlib
import gc
import json
import os
import sys
import time

import few_imports
from loaded import Loaded

NEW_TOKENS = 16
EVERY = 10.0  # seconds between two lines about the prompts
# Only this program's JSON may reach the real stdout: what libraries print there goes to stderr.
_out = sys.stdout
# English, Chinese, code; with a system prompt; several turns. (turns, the response that is scored)
PROMPTS = (
    (["Name three fruits."], "Apples, pears and plums."),
    (["What is the capital of France?"], "The capital of France is Paris."),
    (["What is 17 plus 26?"], "17 + 26 = 43."),
    (["Translate into German: Good morning, everyone."], "Guten Morgen, alle zusammen."),
    (["Summarise in one sentence why leaves are green."], "They hold chlorophyll, which reflects green light."),
    (["Give me a synonym of 'quick'."], "Fast."),
    (["Write a title for a story about a lighthouse."], "The Last Light on the Northern Shore"),
    (["List the days of the weekend as JSON."], '["Saturday", "Sunday"]'),
    (["  What does HTTP stand for?\n"], "Hypertext Transfer Protocol."),
    (["Is water heavier than oil? Answer yes or no."], "Yes."),
    (["你好，请介绍一下你自己。"], "你好，我是一个语言模型。"),
    (["写一句关于春天的话。"], "春天来了，花开满园。"),
    (["中国的首都是哪里？"], "中国的首都是北京。"),
    (["把“谢谢”翻译成英文。"], "Thank you."),
    (["Write a Python function that adds two numbers."], "def add(a, b):\n    return a + b"),
    (["What does this print?\n\n```python\nprint([x * x for x in range(4)])\n```"], "[0, 1, 4, 9]"),
    (["SELECT the names of all users older than 30 in SQL."], "SELECT name FROM users WHERE age > 30;"),
    (["system: Answer in one word.", "What do bees make?"], "Honey."),
    (["Hello!", "Hello, how can I help?", "Recommend a book."], "Try 'The Old Man and the Sea'."),
    (["1 + 1 = ?", "2", "再加三呢？", "5", "And doubled?"], "10"),
)


def tell(**values):
    """Write one line for the process that started this one."""
    _out.write(json.dumps(values) + "\n")
    _out.flush()


class Scored(Loaded):
    """A model that scores the prompts above."""

    def encoded(self):
        """(tokens of the prompt, tokens of the response) of each prompt."""
        pairs = []
        for turns, response in PROMPTS:
            system = turns[0].removeprefix("system: ") if turns[0].startswith("system: ") else None
            roles = ("user", "assistant")
            texts = turns[1:] if system else turns
            messages = [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)]
            if system:
                messages = [{"role": "system", "content": system}, *messages]
            pairs.append(self.encode(messages, response))
        return pairs

    def rows(self, with_greedy=True):
        """What this module says of each prompt."""
        import torch

        found = []
        pairs = self.encoded()
        told = time.monotonic()
        with torch.inference_mode():
            for number, (prompt, response) in enumerate(pairs):
                if time.monotonic() - told > EVERY:
                    told = time.monotonic()
                    tell(phase=f"{number} of {len(pairs)} prompts")
                inputs = torch.tensor([[*prompt, *response]], device=self.model.device)
                logits = self.model(input_ids=inputs, attention_mask=torch.ones_like(inputs), use_cache=False).logits
                logps = logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
                wanted = torch.tensor(response, device=logps.device)[:, None]
                found.append({"tokens": [*prompt, *response], "logps": logps.gather(-1, wanted)[:, 0].tolist()})
            if with_greedy:
                if time.monotonic() - told > EVERY:
                    tell(phase="writing responses")
                for row, (greedy, gaps) in zip(found, self.responses([prompt for prompt, _ in pairs]), strict=True):
                    row.update(greedy=greedy, gaps=gaps)
        return found

    def responses(self, prompts):
        """(tokens, gaps) of the greedy response to each prompt, in one batch, padded on the left."""
        import torch
        from transformers import GenerationConfig

        # The model's own settings (a penalty for repetition, say) would be mixed in with those of an argument.
        self.model.generation_config = GenerationConfig(
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=self.stops,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        inputs, mask = self.padded(prompts)
        done = self.model.generate(inputs=inputs, attention_mask=mask, return_dict_in_generate=True, output_logits=True)
        best = torch.stack(done.logits, 1).float().log_softmax(-1).topk(2, -1).values  # prompts x steps x 2
        gaps = (best[..., 0] - best[..., 1]).tolist()
        for tokens, row in zip(done.sequences[:, inputs.shape[1] :].tolist(), gaps, strict=True):
            end = self.end_of(tokens) + 1
            yield tokens[:end], row[:end]


def main():
    """Score the three models one after another; what the engine prints goes to stderr."""
    few_imports.leave_out_most()

    stack_arguments, merged_arguments = (json.loads(text) for text in sys.argv[1:3])
    with contextlib.redirect_stdout(sys.stderr):
        import torch

        tell(phase="loading the stack", prompts=len(PROMPTS))
        loaded = Scored(stack_arguments, leave_last=True)
        loaded.add_last()
        tell(phase="scoring the stack")
        tell(model="trained", rows=loaded.rows(with_greedy=False))
        loaded.merge_last()
        tell(model="stack", rows=loaded.rows())
        del loaded  # one model at a time
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        tell(phase="loading the merged model")
        loaded = Scored(merged_arguments)
        tell(phase="scoring the merged model")
        tell(model="merged", rows=loaded.rows())
    sys.stderr.flush()
    os._exit(0)  # all is told; the interpreter's own end can abort in background threads of a model


if __name__ == "__main__":
    main()
