"""Simulate training steps of LLaMA-Factory on tensors without data, for their memory and their work.

usage: simulate_step.py   reads JSON lines on stdin, each a case; prints one line of JSON for each

A case: {"config": those keys of the training's config that decide a step, "model": the model's config.json, "layers":
how many to simulate, "lengths": [[prompt, response, ...] of each example of the longest micro-batch, in tokens],
"is_half": 16-bit floats, "is_plain": as LLaMA-Factory does it, "is_checkpointed", "is_padded": whether padding takes
part in attention}. The answer: {"peaks": {phase: {kind: bytes}}, "done": {part: {"flops": ...}}, "parameters": ...,
"trained": ..., "optimizer": bytes} or {"error": ...}.

LLaMA-Factory's own workflow runs: its model set-up, trainer, loop, loss and optimizer (live_bytes.py counts). Only the
weights are not read and the data are made up, and what would look at numbers gets an answer that keeps the shapes.
"""

import contextlib
import json
import multiprocessing
import os
import sys
import tempfile
import traceback
import weakref
from multiprocessing import connection
from pathlib import Path

# Taken along by transformers and requests where they are installed; they take two seconds to import, for nothing here.
sys.modules.update(dict.fromkeys(("sklearn", "chardet")))

import recompute  # noqa: E402
import torch  # noqa: E402
from live_bytes import Live, mark  # noqa: E402

aten = torch.ops.aten
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")  # keys of a config.json
STEPS = 2  # the second has the optimizer's state


def main():
    """Answer the cases, each in a process of its own that has all imports already."""
    os.environ.update(CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1", LLAMAFACTORY_VERBOSITY="ERROR")
    for name in ("FORCE_TORCHRUN", "USE_RAY", "USE_MCA", "OPTIM_TORCH"):
        os.environ.pop(name, None)
    answer_all(simulate, sys.stdin, sys.stdout)


def answer_all(answer, lines, out):
    """Print what `answer` gives for the case on each line, in order."""
    cases = [json.loads(line) for line in lines]
    with contextlib.redirect_stdout(sys.stderr):
        for stage in {case["config"]["stage"] for case in cases}:
            trainer_of(stage)  # imported once, before the processes part
        processes, context = len(os.sched_getaffinity(0)), multiprocessing.get_context("fork")
        waiting, running, told, shown = list(enumerate(cases)), {}, {}, 0
        while waiting or running:
            while waiting and len(running) < processes:
                place, case = waiting.pop(0)
                answers, end = context.Pipe(duplex=False)
                process = context.Process(target=_tell, args=(answer, case, end), daemon=True)
                process.start()
                end.close()
                running[answers] = (place, process)
            for answers in connection.wait(list(running)):
                place, process = running.pop(answers)
                told[place] = _received(answers, process)
            while shown in told:
                print(json.dumps(told.pop(shown)), file=out, flush=True)
                shown += 1


def _tell(answer, case, end):
    end.send_bytes(json.dumps(_told(answer, case)).encode())


def _received(answers, process):
    """What a process has told; the system may have killed it before, which no pool of processes would notice."""
    try:
        told = json.loads(answers.recv_bytes())
    except EOFError:
        process.join()
        told = {"error": f"its simulation ended with code {process.exitcode}; this machine's memory may have run out"}
    process.join()
    return told


def _told(answer, case):
    torch.set_num_threads(1)
    try:
        return answer(case)
    except Exception as error:  # whatever a model or a setting lacks: the other cases go on
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}".split("\n")[0]}


class Done(Exception):
    """The steps are over; nothing is to be saved."""


def simulate(case):
    """The answer to a case."""
    prepare(is_quantized="quantization_bit" in case["config"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = write_model(folder, case)
        with WithoutData(case) as live:
            try:
                run(config, live, case)
            except Done as done:
                (trainer,) = done.args
                return answer_of(live, trainer)


def answer_of(live, trainer):
    """What was counted, and the model's sizes."""
    weights = list(trainer.accelerator.unwrap_model(trainer.model).parameters())
    trained = sum(weight.numel() for weight in weights if weight.requires_grad)
    answer = {"peaks": live.peaks, "done": live.done, "parameters": sum(map(_size, weights)), "trained": trained}
    return answer | {"optimizer": live.now.get("optimizer", 0)}


def _size(weight):
    """Parameters in a weight, which may be packed, two in a byte."""
    state = getattr(weight, "quant_state", None)
    return weight.numel() if state is None else state.shape.numel()


def write_model(folder, case):
    """Put the model's config.json, with fewer layers, and a tokenizer into a folder; returns the training's config."""
    import make_model

    model, layers = dict(case["model"]), case["layers"]
    all_layers = model.get("num_hidden_layers")
    for key, value in model.items():
        if isinstance(value, list) and len(value) == all_layers:
            model[key] = value[:layers]  # what is said of each layer
    model["num_hidden_layers"] = layers
    model.pop("auto_map", None)
    (folder / "config.json").write_text(json.dumps(model), encoding="utf-8")
    make_model.make_tokenizer(["some text"], 300).save_pretrained(folder)
    config = {key: value for key, value in case["config"].items() if key != "pure_bf16"}  # which asks for a GPU
    if "ref_model" in config:
        config["ref_model"] = str(folder)
    return config | {
        "model_name_or_path": str(folder), "train_from_scratch": True, "template": "empty", "dataset": "none",
        "output_dir": str(folder / "out"), "use_cpu": True, "do_train": True,
        "bf16": case["is_half"] and not case["config"].get("pure_bf16"),
        "save_strategy": "no", "report_to": "none", "max_steps": STEPS, "logging_steps": 1, "disable_tqdm": True,
        "disable_shuffling": True, "overwrite_output_dir": True,
    }  # fmt: skip


def examples(stage, lengths, count):
    """Made-up examples of these lengths, as LLaMA-Factory's own processors give them."""

    def of(prompt, response):
        tokens = [3] * (prompt + response)
        return {"input_ids": tokens, "attention_mask": [1] * len(tokens), "labels": [-100] * prompt + [3] * response}

    rows = []
    for place in range(count):
        prompt, *responses = lengths[place % len(lengths)]
        row = {"images": None, "videos": None, "audios": None}
        if stage in ("dpo", "rm"):
            for side, response in zip(("chosen", "rejected"), responses, strict=True):
                row |= {f"{side}_{key}": value for key, value in of(prompt, response).items()}
        else:
            row |= of(prompt, responses[0])
        if stage == "kto":
            row |= {f"kl_{key}": value for key, value in of(prompt, responses[0]).items()}
            row["kto_tags"] = place % len(lengths) < -(-len(lengths) // 2)
        rows.append(row)
    return rows


class WithoutData(contextlib.ExitStack):
    """Within it tensors have shapes and no data. Gives what counts."""

    def __init__(self, case):
        super().__init__()
        self._case = case

    def __enter__(self):
        from torch._subclasses.fake_tensor import FakeTensorMode

        super().__enter__()
        self.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        return self.enter_context(Answering(self._case))


class Answering(Live):
    """Counts, and answers what would look at numbers."""

    def __init__(self, case):
        super().__init__(case["model"].get("vocab_size", 0))
        sides = [[prompt + response for response in responses] for prompt, *responses in case["lengths"]]
        widths = [length for lengths in sides for length in lengths]
        width = -(-max(widths) // 8) * 8  # collators pad to a multiple of 8
        self._is_full = not case["is_padded"] or set(widths) == {width}
        self._wanted = sum(sum(responses) for _, *responses in case["lengths"])
        self._examples = len(sides)
        self._places = weakref.WeakKeyDictionary()  # storages of indices: each expert's has its turn
        model = case["model"]
        self._experts = next((model[key] for key in EXPERTS if isinstance(model.get(key), int)), 0)
        self._chosen = model.get("num_experts_per_tok", 1)

    def run(self, func, args, kwargs):
        if func is aten._local_scalar_dense.default:
            if args[0].dtype == torch.bool:
                return getattr(args[0], "answer", False)
            is_place = args[0].untyped_storage() in self._places
            return args[0].storage_offset() if is_place else 1.0 if args[0].is_floating_point() else 1
        if func is aten.equal.default:
            return True
        if func is aten.nonzero.default:
            count = self._count_of(args[0])
            places = args[0].new_empty((count, args[0].dim()), dtype=torch.long)
            self._places[places.untyped_storage()] = True
            return places
        if func is aten.index.Tensor and len(args[1]) == 1 and args[1][0].dtype == torch.bool:
            mask = args[1][0]
            return args[0].new_empty((self._count_of(mask), *args[0].shape[mask.dim() :]))
        out = super().run(func, args, kwargs)
        if func is aten.all.default:
            out.answer = self._is_full
        elif func is aten.bitwise_not.default and out.dtype == torch.bool:
            out.says_others = not getattr(args[0], "says_others", False)
        return out

    def _count_of(self, mask):
        """How many are true in a mask of tokens (those that count), of examples (KTO's tags), or of experts' tokens."""
        total = mask.numel()
        if self._experts and total == self._experts:
            return total
        if self._experts and mask.dim() == 2 and len(mask) == self._chosen:
            return -(-total // self._experts)  # shared evenly
        wanted = self._wanted if total > self._examples else -(-total // 2)
        wanted = min(wanted, total)
        return total - wanted if getattr(mask, "says_others", False) else wanted


def prepare(is_quantized):
    """Change what cannot run without data."""
    import peft.tuners.lora.model as lora
    import peft.tuners.tuners_utils as tuners

    # Moving a module fails on tensors without data ("Couldn't swap"), and everything is in place already.
    tuners.BaseTunerLayer._move_adapter_to_device_of_base_layer = lambda self, *args, **kwargs: None
    torch.nn.Module.to = _to
    torch.Tensor.tolist = lambda self: [0] * self.numel()
    if not is_quantized:  # or it imports bitsandbytes, for 1.5 s
        lora.is_bnb_available = lora.is_bnb_4bit_available = lambda: False


def _to(module, *args, **kwargs):
    dtype = kwargs.get("dtype") or next((arg for arg in args if isinstance(arg, torch.dtype)), None)
    if dtype is not None:
        _cast(module, dtype)
    return module


def _cast(module, dtype, is_trained_only=False):
    for part in module.modules():
        for name, weight in list(part._parameters.items()):
            is_meant = weight is not None and weight.is_floating_point() and weight.dtype != dtype
            if is_meant and (weight.requires_grad or not is_trained_only):
                part._parameters[name] = torch.nn.Parameter(weight.detach().to(dtype), weight.requires_grad)


def run(config, live, case, has_data=False):
    """LLaMA-Factory's workflow of the stage, up to the end of its loop. Raises Done."""
    import importlib

    from llamafactory.hparams import get_train_args
    from llamafactory.train import trainer_utils
    from torch.utils._python_dispatch import _disable_current_modes

    with _disable_current_modes():
        arguments = get_train_args(config)
    model_args, data_args, training_args, finetuning_args, generating_args = arguments
    stage = finetuning_args.stage
    finetuning_args.pure_bf16 = bool(case["config"].get("pure_bf16"))
    model_args.compute_dtype = torch.bfloat16 if case["is_half"] else torch.float32
    workflow = importlib.import_module(f"llamafactory.train.{stage}.workflow")
    rows = training_args.per_device_train_batch_size * training_args.gradient_accumulation_steps * STEPS
    with _disable_current_modes():
        from datasets import Dataset

        data = Dataset.from_list(examples(stage, case["lengths"], rows))
    workflow.get_dataset = lambda *_, **__: {"train_dataset": data}
    kind = trainer_of(stage)
    if not case["is_plain"]:
        make_lean(stage, case["is_checkpointed"], has_data)
    elif not case["is_checkpointed"]:
        model_args.disable_gradient_checkpointing = True
    kind.train = counted(kind.train, live)
    workflow.get_dataset = lambda *_, **__: {"train_dataset": data}
    if not has_data:
        load = loading(workflow.load_model, model_args.compute_dtype, finetuning_args.pure_bf16)
        workflow.load_model = trainer_utils.load_model = load  # the latter of a reference model
        if model_args.quantization_bit:
            quantize_before_adapters(model_args.quantization_bit, model_args.double_quantization)
    given = (model_args, data_args, training_args, finetuning_args)
    getattr(workflow, f"run_{stage}")(*given, *([generating_args] if stage == "sft" else []), callbacks=[])


def counted(engines, live):
    """`train`, in which `live` counts, and which ends with Done."""

    def train(trainer, *args, **kwargs):
        mark(live, trainer)
        live.counts = True
        engines(trainer, *args, **kwargs)
        live.counts = False
        raise Done(trainer)

    return train


def loading(load_model, dtype, is_pure):
    """`load_model`, which makes weights in `dtype`, as they would be read, and those that are trained in float32.

    The engine casts them by `.data =`, which does nothing without data.
    """

    def load(*args, **kwargs):
        torch.set_default_dtype(dtype)
        model = load_model(*args, **kwargs)
        torch.set_default_dtype(torch.float32)
        if not is_pure:
            _cast(model, torch.float32, is_trained_only=True)
        return model

    return load


def quantize_before_adapters(bits, is_double):
    """LLaMA-Factory quantizes while it loads weights; here it is done before the adapter is put on."""
    import llamafactory.model.loader as loader

    init_adapter = loader.init_adapter

    def init(config, model, *args, **kwargs):
        quantize(model, bits, is_double)
        return init_adapter(config, model, *args, **kwargs)

    loader.init_adapter = init


def quantize(model, bits, is_double):
    """Put bitsandbytes' linear layers, with quantized weights, in the place of all but the head."""
    from bitsandbytes import functional, nn
    from torch.utils._python_dispatch import _disable_current_modes

    head = model.get_output_embeddings()
    for part in list(model.modules()):
        for name, linear in list(part.named_children()):
            if type(linear) is not torch.nn.Linear or linear is head:
                continue
            sizes, has_bias = (linear.in_features, linear.out_features), linear.bias is not None
            if bits == 4:
                with _disable_current_modes():
                    made = nn.Linear4bit(*sizes, has_bias, linear.weight.dtype, is_double, "nf4", device="meta")
                packed, state = functional.quantize_4bit(linear.weight.data, None, None, 64, is_double, "nf4")
                values = {"quant_state": state, "compress_statistics": is_double, "quant_type": "nf4"}
            else:
                with _disable_current_modes():
                    made = nn.Linear8bitLt(*sizes, has_bias, False, threshold=6.0, device="meta")
                packed, scales, _ = functional.int8_vectorwise_quant(linear.weight.data)
                values = {"CB": packed, "SCB": scales, "has_fp16_weights": False}
            # Of the class of their own such weights cannot be, since tensors without data are of another.
            made.weight = torch.nn.Parameter(packed, requires_grad=False)
            vars(made.weight).update(values, bnb_quantized=True, module=made, blocksize=64)
            setattr(part, name, made)
    setattr(model, f"is_loaded_in_{bits}bit", True)


def make_lean(stage, is_checkpointed, has_data):
    """Let the stage's trainer train as rlguide's does, with the reference computed, as in the first epoch."""
    import lazy_logits
    import lean
    from torch.utils._python_dispatch import _disable_current_modes

    def begin(self, _):
        self.reference = None
        if not is_checkpointed:
            recompute.Checkpointing(recompute.layers(self.trainer.model)).set(False)

    def stand_in(hidden):
        with _disable_current_modes():  # a tensor without data cannot be of another class
            return torch.empty(0).as_subclass(lazy_logits.Logits)

    if why_not := lean.install(stage, Silent()):
        raise RuntimeError(why_not)
    lean.Lean.begin = begin
    if not has_data:
        lazy_logits.stand_in = stand_in


class Silent:
    """Events that nobody reads."""

    def write(self, *_, **__):
        """Nothing."""


def trainer_of(stage):
    """The trainer's class of a stage."""
    import importlib

    names = {
        "dpo": "CustomDPOTrainer",
        "kto": "CustomKTOTrainer",
        "rm": "PairwiseTrainer",
        "sft": "CustomSeq2SeqTrainer",
    }
    return getattr(importlib.import_module(f"llamafactory.train.{stage}.trainer"), names[stage])


if __name__ == "__main__":
    main()
