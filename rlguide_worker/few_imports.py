"""Leaves out what transformers, requests and LLaMA-Factory import where it is installed, which takes seconds."""

import gc
import sys

ALWAYS = ("sklearn", "chardet", "openai")  # for assisted generation, for guessing encodings, and for TRL's judges
# LLaMA-Factory's training imports Ray where it is installed (0.6 s); where Ray started this process it is here already.
# It is not brought back: the engine would then find it and miss the import that was left out.
UNUSED = ("ray",)
PLOTS = ("matplotlib",)  # for LLaMA-Factory's plot_loss
FIGURES = ("nltk", "jieba", "rouge_chinese")  # for its predict_with_generate in SFT


def leave_out(*names):
    """Let these packages be missing from now on, unless they are imported already."""
    sys.modules.update((name, None) for name in names if name not in sys.modules)


def leave_out_most():
    """For what neither trains nor evaluates with lm-eval."""
    leave_out(*ALWAYS, *UNUSED, *FIGURES)
    # Importing makes a million objects that stay: to look for garbage among them takes a fifth of the time.
    gc.set_threshold(10_000)


def spare_bitsandbytes():
    """Let PEFT look for layers of bitsandbytes only where that was imported, as there are none where it was not.

    Where it is installed PEFT imports it for every LoRA adapter, which takes 1.5 s (peft 0.18.1,
    tuners/lora/model.py, `_create_new_module`). Whoever loads a quantized model has imported it before.
    """
    import peft.tuners.lora.model as lora

    for name in ("is_bnb_available", "is_bnb_4bit_available"):
        setattr(lora, name, _if_imported("bitsandbytes", getattr(lora, name)))


def _if_imported(package, is_available):
    return lambda: sys.modules.get(package) is not None and is_available()


def bring_back():
    """Let all but `UNUSED` be there again for whoever asks for them from now on, and garbage be collected."""
    gc.enable()
    for name in (*ALWAYS, *PLOTS, *FIGURES):
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]
