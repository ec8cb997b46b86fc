"""Leaves out what transformers, requests and LLaMA-Factory import where it is installed, which takes seconds.

To be imported first, by what neither trains nor evaluates with lm-eval: sklearn is for assisted generation, the others
for figures of SFT and for guessing encodings.
"""

import sys

LEFT_OUT = ("sklearn", "chardet", "nltk", "jieba", "rouge_chinese")

sys.modules.update((name, None) for name in LEFT_OUT if name not in sys.modules)
