"""A policy as lm-evaluation-harness sees it, loaded by LLaMA-Factory, its prompts written by the run's own template."""

import copy
import time

import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from match_logits import tell

EVERY = 1.0  # seconds between two lines about the requests
ON_GPU, ON_CPU = 16, 4  # requests at once; halved where they do not fit


class Harness(HFLM):
    """The model object of `loaded`; nothing is loaded again.

    lm-eval's own automatic batch size tries 64 requests of the model's full length first, which on a CPU takes all of
    main memory. Here a batch that does not fit a GPU is halved. Decoding ends at the template's stop tokens, and
    nothing else of the model's own generation settings counts: some have a penalty, or a `max_new_tokens` that
    transformers would put before the length that the task gives.
    """

    def __init__(self, loaded, chat, batch_size):
        from llamafactory.data.template import ReasoningTemplate
        from transformers import GenerationConfig

        model, tokenizer, template = loaded.model, loaded.tokenizer, loaded.template
        model.generation_config = GenerationConfig(eos_token_id=loaded.stops, pad_token_id=tokenizer.pad_token_id)
        thoughts = template.thought_words[1].strip() if isinstance(template, ReasoningTemplate) else None
        super().__init__(
            model,
            backend="causal",
            tokenizer=tokenizer,
            batch_size=batch_size or (ON_GPU if model.device.type == "cuda" else ON_CPU),
            add_bos_token=False if chat else None,  # the template writes one where there is one
            think_end_token=thoughts,
        )
        self.loaded = loaded
        self.cache_hook = self  # told of each request that is done
        self.counts = {}
        self.begin("")

    def begin(self, task):
        """Count from 0 for this task: prompts, those cut to the model's length, those that read back differently."""
        self.task, self.counts = task, {"prompts": 0, "cut": 0, "retokenized": 0}

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        """The conversation as text, as the template of LLaMA-Factory writes it in training.

        lm-eval makes tokens of that text again; where they are not those of the template, it is counted.
        """
        messages, beginning = copy.deepcopy(chat_history), ""
        if not add_generation_prompt:  # the response begins with words of the task
            beginning = messages.pop()["content"]
        ids, _ = self.loaded.encode(messages)
        text = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        self.counts["retokenized"] += self.tok_encode(text) != ids
        return text + beginning

    def loglikelihood(self, requests, disable_tqdm=False):
        """As HFLM."""
        return self.run(requests, super().loglikelihood)

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        """As HFLM."""
        return self.run(requests, super().loglikelihood_rolling)

    def generate_until(self, requests, disable_tqdm=False):
        """As HFLM."""
        rooms = {}
        for context, settings in (request.args for request in requests):
            wanted = normalize_gen_kwargs(settings, self.max_gen_toks)["max_gen_toks"]
            rooms[context] = self.max_length - wanted
        self.counts["cut"] += sum(len(self.tok_encode(context)) > room for context, room in rooms.items())
        return self.run(requests, super().generate_until)

    def _loglikelihood_tokens(self, requests, **options):
        self.counts["cut"] += sum(len(before or []) + len(after) > self.max_length + 1 for _, before, after in requests)
        return super()._loglikelihood_tokens(requests, **options)

    def run(self, requests, method):
        """The results of a method of HFLM; with half as many requests at once where they do not fit."""
        before = dict(self.counts)
        while True:
            self.done, self.total, self.told = 0, len(requests), 0.0
            self.counts = {**before, "prompts": before["prompts"] + len(requests)}
            try:
                return method(requests, disable_tqdm=True)
            except torch.OutOfMemoryError:
                if self.batch_size_per_gpu == 1:
                    raise
                self.batch_size_per_gpu //= 2
            torch.cuda.empty_cache()

    def add_partial(self, attribute, request, result):
        """A request is done."""
        self.done += 1
        if time.monotonic() - self.told > EVERY:
            self.told = time.monotonic()
            tell(phase=self.task, done=self.done, total=self.total)
