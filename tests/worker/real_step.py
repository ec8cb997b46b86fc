"""What simulate_step.py does, with data: real weights, real tensors, the real loop. Run in the engine's Python."""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "rlguide_worker"))

import few_imports
import simulate_step
import torch
from live_bytes import Live


def main():
    """Answer each case on stdin, as simulate_step.py."""
    few_imports.spare_bitsandbytes()
    simulate_step.answer_all(real, sys.stdin, sys.stdout)


def real(case):
    """The answer to a case, from a training that takes place."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = simulate_step.write_model(folder, case)
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
        is_half = case["is_half"]
        model.to(torch.bfloat16 if is_half else torch.float32).save_pretrained(folder)
        live = Live(case["model"]["vocab_size"])
        try:
            with live:
                simulate_step.run({**config, "train_from_scratch": False}, live, case, has_data=True)
        except simulate_step.Done as done:
            (trainer,) = done.args
            return simulate_step.answer_of(live, trainer)


if __name__ == "__main__":
    main()
