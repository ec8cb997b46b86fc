"""Count the tokens of preference rows as LLaMA-Factory itself encodes them, before it cuts anything.

usage: count_tokens.py MODEL TEMPLATE < ROWS.jsonl

Rows are JSON lines {"system", "messages": [user, assistant, ..., user], "responses": [one or two texts]}. Each gives
one line on stdout: [tokens of the prompt, of the first response, (of the second)]. Two responses go through the
engine's own pairwise processor; a single one is encoded with the same template as in KTO.
"""

import contextlib
import json
import sys

import few_imports

NEVER = 1 << 30  # a cutoff_len that cuts nothing


def main() -> None:
    """Read, count, print; what the engine prints goes to stderr."""
    few_imports.leave_out_most()

    model, template_name = sys.argv[1:3]
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        from llamafactory.data.processor.pairwise import PairwiseDatasetProcessor
        from llamafactory.data.template import get_template_and_fix_tokenizer
        from llamafactory.extras.constants import IGNORE_INDEX
        from llamafactory.hparams import DataArguments, ModelArguments
        from llamafactory.model import load_tokenizer

        data_args = DataArguments(template=template_name, cutoff_len=NEVER)
        loaded = load_tokenizer(ModelArguments(model_name_or_path=model))
        template = get_template_and_fix_tokenizer(loaded["tokenizer"], data_args)
        processor = PairwiseDatasetProcessor(template, loaded["tokenizer"], loaded["processor"], data_args)
        for line in sys.stdin.buffer:  # not sys.stdin: a line separator inside a text must not end the line
            row = json.loads(line)
            roles = ("user", "assistant")
            prompt = [{"role": roles[i % 2], "content": text} for i, text in enumerate(row["messages"])]
            responses = [{"role": "assistant", "content": text} for text in row["responses"]]
            _, chosen, _, rejected = processor._encode_data_example(
                prompt, [responses[0], responses[-1]], row["system"], "", [], [], []
            )
            source = chosen.count(IGNORE_INDEX)
            counts = [source, len(chosen) - source, len(rejected) - source][: 1 + len(responses)]
            out.write(json.dumps(counts) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
