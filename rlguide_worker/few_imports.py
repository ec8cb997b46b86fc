"""Leaves out what transformers, requests and LLaMA-Factory import where it is installed, which takes seconds."""

import gc
import sys

ALWAYS = ("sklearn", "chardet")  # for assisted generation, and for guessing encodings
# LLaMA-Factory's training imports Ray where it is installed (0.6 s); where Ray started this process it is here already.
# It is not brought back: the engine would then find it and miss the import that was left out.
UNUSED = ("ray",)
FIGURES = ("nltk", "jieba", "rouge_chinese")  # for LLaMA-Factory's predict_with_generate in SFT


def leave_out(*names):
    """Let these packages be missing from now on, unless they are imported already."""
    sys.modules.update((name, None) for name in names if name not in sys.modules)


def leave_out_most():
    """For what neither trains nor evaluates with lm-eval."""
    leave_out(*ALWAYS, *UNUSED, *FIGURES)
    # Importing makes a million objects that stay: to look for garbage among them takes a fifth of the time.
    gc.set_threshold(10_000)


def bring_back():
    """Let all but `UNUSED` be there again for whoever asks for them from now on, and garbage be collected."""
    gc.enable()
    for name in (*ALWAYS, *FIGURES):
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]
