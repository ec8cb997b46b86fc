"""Simulate training steps of LLaMA-Factory on tensors without data, for their memory and their work.

usage: simulate_step.py   reads JSON lines on stdin, each a case; prints one line of JSON for each

A case: {"config": those keys of the training's config that decide a step, "model": the model's config.json, "layers":
how many to simulate, "lengths": [[prompt, response, ...] of each example of the longest micro-batch, in tokens],
"is_half": 16-bit floats, "is_plain": as LLaMA-Factory does it, "is_checkpointed", "is_padded": whether padding takes
part in attention, "has_liger", "optimizer": a name of bitsandbytes or null}.
The answer: {"peaks": {phase: {kind: bytes}}, "done": {part: {"flops": ...}}, "parameters": ..., "trained": ...,
"optimizer": bytes} or {"error": ...}.

LLaMA-Factory's own workflow runs: its model set-up, trainer, loop, loss and optimizer (live_bytes.py counts). Only the
weights are not read and the data are made up, and what would look at numbers gets an answer that keeps the shapes.
"""

import contextlib
import gc
import importlib
import json
import multiprocessing
import os
import sys
import tempfile
import traceback
from multiprocessing import connection
from pathlib import Path

import few_imports

few_imports.leave_out(*few_imports.ALWAYS, *few_imports.UNUSED, *few_imports.FIGURES)
few_imports.leave_out("matplotlib", "scipy")  # nor are there pictures here, or losses that need it

import lean  # noqa: E402
import recompute  # noqa: E402
import stand_ins  # noqa: E402
import torch  # noqa: E402
from live_bytes import mark  # noqa: E402
from without_data import WithoutData, loading, prepare_modules  # noqa: E402

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
        for stage, kind in {(case["config"]["stage"], str(case["model"].get("model_type"))) for case in cases}:
            prepare(stage, kind.replace("-", "_"))  # imported once, before the processes part
        gc.freeze()  # nor does each of them look for garbage in all that was imported
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


def prepare(stage, kind):
    """Import what a stage and a type of model need."""
    importlib.import_module(f"llamafactory.train.{stage}.workflow")  # with the trainer
    with contextlib.suppress(ImportError):  # a type that transformers does not know, which its case will say
        importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")


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
    prepare_modules(is_quantized="quantization_bit" in case["config"])
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


def run(config, live, case, has_data=False):
    """LLaMA-Factory's workflow of the stage, up to the end of its loop. Raises Done."""
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
    kind, _ = lean.known_code(stage)
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
            stand_ins.quantize_before_adapters(model_args.quantization_bit, model_args.double_quantization)
        if case["has_liger"]:
            workflow.load_model = stand_ins.with_liger(load)
        if case["optimizer"] is not None:
            stand_ins.use_optimizer(case["optimizer"])
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


def make_lean(stage, is_checkpointed, has_data):
    """Let the stage's trainer train as rlguide's does, with the reference computed, as in the first epoch."""
    import lazy_logits
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


if __name__ == "__main__":
    main()
