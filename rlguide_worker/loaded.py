"""A model with its tokenizer and template, as LLaMA-Factory loads them for inference, and its prompts in batches."""

import few_imports


class Prompts:
    """How prompts become tokens, without the model. `generating`: the engine's defaults for generation."""

    def __init__(self, arguments):
        from llamafactory.data import get_template_and_fix_tokenizer
        from llamafactory.hparams import get_infer_args
        from llamafactory.model import load_tokenizer

        self.model_args, self.data_args, self.finetuning_args, generating_args = get_infer_args(arguments)
        self.generating = generating_args.to_dict()
        loaded = load_tokenizer(self.model_args)
        self.tokenizer, self.processor = loaded["tokenizer"], loaded["processor"]
        self.template = get_template_and_fix_tokenizer(self.tokenizer, self.data_args)
        self.stops = [token for token in self.template.get_stop_token_ids(self.tokenizer) if token is not None]

    def encode(self, messages, response=""):
        """(tokens of the prompt, tokens of the response) of a conversation, as in training."""
        system = None
        if messages and messages[0]["role"] == "system":
            system, messages = messages[0]["content"], messages[1:]
        turns = self.template.mm_plugin.process_messages(
            [*messages, {"role": "assistant", "content": response}], [], [], [], self.processor
        )
        return self.template.encode_oneturn(self.tokenizer, turns, system)


class Loaded(Prompts):
    """A loaded policy. `last` is an adapter that was left out."""

    def __init__(self, arguments, leave_last=False):
        from llamafactory.model import load_model

        super().__init__(arguments)
        few_imports.spare_bitsandbytes()
        model_args = self.model_args
        adapters = model_args.adapter_name_or_path or []
        self.last = None
        if leave_last and adapters:
            self.last = adapters[-1]
            model_args.adapter_name_or_path = adapters[:-1] or None
        self.folders = {"subfolder": model_args.adapter_folder, "offload_folder": model_args.offload_folder}
        self.model = load_model(self.tokenizer, model_args, self.finetuning_args, is_trainable=False)

    def add_last(self):
        """Put the adapter that was left out beside the weights, as LLaMA-Factory does when it trains one on."""
        from peft import PeftModel

        self.model = PeftModel.from_pretrained(self.model, self.last, is_trainable=False, **self.folders).eval()

    def merge_last(self):
        """Merge it, as LLaMA-Factory does for inference."""
        self.model = self.model.merge_and_unload()

    def padded(self, prompts):
        """Tokens and mask (B, width) of prompts of any length, padded on the left, so that responses begin alike."""
        import torch

        width = max(len(ids) for ids in prompts)
        pad, device = self.tokenizer.pad_token_id, self.model.device
        inputs = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=device)
        return inputs, mask

    def end_of(self, response):
        """The place of the token that ends a response, its length where none does."""
        return next((place for place, token in enumerate(response) if token in self.stops), len(response))
