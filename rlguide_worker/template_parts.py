"""LLaMA-Factory's template as the texts around what is said, for a format that has no code of its own (ollama's)."""


def parts_of(template, tokenizer, positions=None):
    """The texts of a template, an object of JSON's types.

    prefix, system, user, assistant: what stands before everything, and (before, after) a text of these roles;
    system_in_user: whether the system prompt stands within the first user message; default_system; thought: what is
    put before a response, an empty thought; stops: the tokens that end a response; positions: of the model.

    A tokenizer that puts the token of the beginning before every text would have it twice: it is left out.

    Raises:
        ValueError: the template has something that texts cannot say.
    """
    from llamafactory.data.template import Llama2Template, ReasoningTemplate

    prefix = "".join(_text(slot, tokenizer) for slot in template.format_prefix.apply())
    roles = {
        name: _around(getattr(template, f"format_{name}").apply(), tokenizer)
        for name in ("system", "user", "assistant")
    }
    bos = tokenizer.bos_token
    if begins(tokenizer) and prefix.startswith(bos):
        prefix = prefix[len(bos) :]
    elif begins(tokenizer):
        raise ValueError("its prompts do not begin with one token of the beginning, which the tokenizer always adds")
    thinks = isinstance(template, ReasoningTemplate)
    ids = {token for token in template.get_stop_token_ids(tokenizer) if token is not None}
    stops = map(tokenizer.convert_ids_to_tokens, ids - {tokenizer.unk_token_id})  # a stop word that it does not have
    return {
        "prefix": prefix,
        **roles,
        "system_in_user": isinstance(template, Llama2Template),
        "default_system": template.default_system,
        "thought": template.add_thought() if thinks and not template.enable_thinking else "",
        "stops": sorted(token for token in stops if isinstance(token, str)),
        "positions": positions,
    }


def begins(tokenizer):
    """Whether the tokenizer puts the token of the beginning before every text."""
    return tokenizer.bos_token_id is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def rendered(parts, turns):
    """The text of a conversation, (role, text) each, up to where a response begins."""
    system = "".join(text for role, text in turns if role == "system") or parts["default_system"]
    text = parts["prefix"]
    inner = parts["system"][0] + system + parts["system"][1] if system else ""
    if not parts["system_in_user"]:
        text, inner = text + inner, ""
    for role, said in turns:
        if role == "user":
            said, inner = inner + said, ""
        if role != "system":
            text += parts[role][0] + said + parts[role][1]
    return text + parts["thought"]


def tokens(parts, turns, tokenizer):
    """What a server makes of that text: the whole of it at once, and the token of the beginning where it adds one."""
    first = [tokenizer.bos_token_id] if begins(tokenizer) else []
    return first + tokenizer(rendered(parts, turns), add_special_tokens=False)["input_ids"]


def _around(slots, tokenizer):
    before, mark, after = "".join(_text(slot, tokenizer) for slot in slots).partition("{{content}}")
    if not mark or "{{" in before + after:
        raise ValueError("it writes more than the text of a message")
    return [before, after]


def _text(slot, tokenizer):
    if isinstance(slot, str):
        return slot
    if isinstance(slot, dict):
        return slot["token"]
    found = tokenizer.bos_token if "bos_token" in slot else tokenizer.eos_token
    return found or ""
