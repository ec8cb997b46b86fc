"""Let a merged model's own chat template write prompts as LLaMA-Factory's template did in training.

usage: match_template.py FOLDER ARGUMENTS.json

ARGUMENTS is an object of the engine's data arguments (template, default_system, enable_thinking) and trust_remote_code.
Conversations are rendered with both and compared token for token. If they differ, FOLDER gets the template that the
engine makes of its own, and is read back and compared again; where that does not write the same text either, FOLDER
stays as it was. One line on stdout:
{"same": whether they agree now, "changed": whether FOLDER got another template, "theirs", "ours": the first prompt that
differed (still, if they do not agree now), as text, "parts": the template as texts (template_parts.py), or null with
"why" where texts cannot say it, or give other tokens}
"""

import contextlib
import json
import sys
from pathlib import Path

import few_imports

# A prompt alone (with the default system prompt, if there is one), a longer conversation, a system prompt.
CONVERSATIONS = (
    [("user", "Name three fruits.")],
    [("user", "Hello!"), ("assistant", "Hello, how can I help?"), ("user", "1 + 1 = ?")],
    [("system", "Answer in one word."), ("user", "  What is it?\n")],
)


def difference(folder, trusted, template, tokenizer):
    """(theirs, ours) of the first conversation whose tokens differ; None if all agree."""
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(folder, trust_remote_code=trusted)
    for turns in CONVERSATIONS:
        wanted = prompt_of(turns, template, tokenizer)
        every = [{"role": role, "content": text} for role, text in turns]
        try:
            found = own.apply_chat_template(every, add_generation_prompt=True, tokenize=True)
        except Exception as error:  # a template of its own may refuse a role
            return f"{type(error).__name__}: {error}", tokenizer.decode(wanted)
        if list(found) != list(wanted):
            return own.decode(found), tokenizer.decode(wanted)
    return None


def replace(folder, template, tokenizer):
    """Write the engine's own template into the folder, where one is looked for first; returns a function to undo it."""
    path = Path(folder, "chat_template.jinja")
    before = path.read_bytes() if path.exists() else None
    template.replace_jinja_template = True
    template.fix_jinja_template(tokenizer)

    path.write_bytes(tokenizer.chat_template.encode())
    return lambda: path.unlink() if before is None else path.write_bytes(before)


def as_texts(folder, template, tokenizer):
    """What is told of the template's texts: they are right if all of a conversation's text gives the same tokens."""
    from template_parts import parts_of, tokens

    try:
        config = json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
        text_config = config.get("text_config")
        config = text_config if isinstance(text_config, dict) else config
        parts = parts_of(template, tokenizer, config.get("max_position_embeddings"))
        for turns in CONVERSATIONS:
            if tokens(parts, turns, tokenizer) != prompt_of(turns, template, tokenizer):
                return {"parts": None, "why": "as one text it gives other tokens"}
    except Exception as error:  # whatever a template of another kind lacks
        return {"parts": None, "why": str(error)[:200]}
    return {"parts": parts}


def prompt_of(turns, template, tokenizer):
    """The tokens of a prompt, as in training."""
    system = "".join(text for role, text in turns if role == "system")
    messages = [{"role": role, "content": text} for role, text in turns if role != "system"]
    return template.encode_oneturn(tokenizer, [*messages, {"role": "assistant", "content": ""}], system or None)[0]


def main():
    """Compare, change, compare again; what the engine prints goes to stderr."""
    few_imports.leave_out_most()

    folder, arguments = sys.argv[1], json.loads(sys.argv[2])
    trusted = bool(arguments.pop("trust_remote_code", False))
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        from llamafactory.data.template import get_template_and_fix_tokenizer
        from llamafactory.hparams import DataArguments, ModelArguments
        from llamafactory.model import load_tokenizer

        model_args = ModelArguments(model_name_or_path=folder, trust_remote_code=trusted)
        tokenizer = load_tokenizer(model_args)["tokenizer"]
        template = get_template_and_fix_tokenizer(tokenizer, DataArguments(**arguments))
        first = difference(folder, trusted, template, tokenizer)
        left, changed = first, first is not None
        if first is not None:
            undo = replace(folder, template, tokenizer)
            left = difference(folder, trusted, template, tokenizer)
            if left is not None and left[0] != left[1]:
                undo()
                left, changed = first, False
    theirs, ours = left or first or ("", "")
    result = {"same": left is None, "changed": changed, "theirs": theirs, "ours": ours}
    with contextlib.redirect_stdout(sys.stderr):
        result.update(as_texts(folder, template, tokenizer))
    out.write(json.dumps(result) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
