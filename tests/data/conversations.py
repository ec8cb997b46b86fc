"""Random conversations, and each of them as a row of every format that rlguide reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from rlguide.data.example import Example, Turn

# Letters that begin a misread text, and what template tokens are made of, do not come up by chance; the pieces below
# have them in good writing.
CHARACTERS = st.characters(
    codec="utf-8",
    exclude_categories=["Cc", "Cs"],
    exclude_characters="\ufffd<>[]|｜~鈥" + "".join(map(chr, range(0xC2, 0xF5))),
)
PIECES = [
    "你好，世界。",
    "👩‍💻 🙂",
    "one\u2028two\u2029three",
    'He said "no", it\'s 5,0 €;\n\tnew\r\nline',
    "[1, 2, 3] {x} \\n",
    "<b>HTML</b> <s>old</s> a <think>thought</think> x <- y |> z <| w",
    "Ça va très bien, là-bas ? «Été», naïve façade: São João, AMANHÃ… MAÇÃ” é° Nestlé®’s",
    "Größe über Änderung, Ångström, Ðuro, ESPAÑA, Привет",
    "long text " * 300,
]
# Not st.text: it also draws string constants of the modules that are loaded, and those of `checks` are damage (three
# 烫), or words that excuse it ("gbk").
WORDS = st.lists(CHARACTERS, min_size=1, max_size=30).map("".join)
texts = st.lists(WORDS | st.sampled_from(PIECES), min_size=1, max_size=3).map("".join).filter(str.strip)
scores = st.tuples(st.integers(-9, 9), st.integers(1, 9)).map(lambda drawn: (float(sum(drawn)), float(drawn[0])))


@st.composite
def pairs(draw: st.DrawFn, most_turns: int = 3, with_system: bool = True) -> Example:
    count = 2 * draw(st.integers(0, most_turns - 1)) + 1
    messages = tuple(Turn("gpt" if index % 2 else "human", draw(texts)) for index in range(count))
    chosen = draw(texts)
    rejected = draw(texts.filter(lambda text: text.strip() != chosen.strip()))
    return Example.pair(messages, chosen, rejected, draw(texts | st.just("")) if with_system else "", draw(scores))


@st.composite
def labels(draw: st.DrawFn, most_turns: int = 3) -> Example:
    return draw(st.sampled_from(draw(pairs(most_turns)).split()))


TASK = "Translate what follows."


def roles(turns: tuple[Turn, ...], system: str = "") -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system else []
    return first + [{"role": "assistant" if t.role == "gpt" else "user", "content": t.value} for t in turns]


def message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def score_columns(pair: Example, chosen: str = "score_chosen", rejected: str = "score_rejected") -> dict[str, float]:
    return dict(zip((chosen, rejected), pair.scores or (), strict=False))


def as_sharegpt(pair: Example) -> dict[str, Any]:
    return {
        "conversations": [{"from": turn.role, "value": turn.value} for turn in pair.messages],
        "system": pair.system,
        "chosen": {"from": "gpt", "value": pair.chosen},
        "rejected": {"from": "gpt", "value": pair.rejected},
        **score_columns(pair),
    }


def exchanges(turns: tuple[Turn, ...]) -> list[list[str]]:
    return [[turns[i].value, turns[i + 1].value] for i in range(0, len(turns) - 1, 2)]


def as_alpaca(pair: Example) -> dict[str, Any]:
    turns = pair.messages
    return {
        "instruction": turns[-1].value,
        "input": "",
        "history": exchanges(turns),
        "system": pair.system,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        **score_columns(pair, "chosen_score", "rejected_score"),
    }


def as_openai(pair: Example) -> dict[str, Any]:
    answers = {key: message(getattr(pair, key)) for key in ("chosen", "rejected")}
    return {"messages": roles(pair.messages, pair.system), **answers, **score_columns(pair)}


def as_openai_preference(pair: Example) -> dict[str, Any]:
    outputs = {"preferred_output": [message(pair.chosen)], "non_preferred_output": [message(pair.rejected)]}
    return {"input": {"messages": roles(pair.messages, pair.system)}, **outputs, **score_columns(pair)}


def as_trl_messages(pair: Example) -> dict[str, Any]:
    answers = {key: [message(getattr(pair, key))] for key in ("chosen", "rejected")}
    return {"prompt": roles(pair.messages, pair.system), **answers, **score_columns(pair)}


def as_trl_text(pair: Example) -> dict[str, Any]:
    texts = {"prompt": pair.messages[0].value, "chosen": pair.chosen, "rejected": pair.rejected}
    return texts | {"system": pair.system, **score_columns(pair, "chosen-rating", "rejected-rating")}


def as_trl_implicit(pair: Example) -> dict[str, Any]:
    whole = roles(pair.messages, pair.system)
    answers = {key: [*whole, message(getattr(pair, key))] for key in ("chosen", "rejected")}
    return answers | score_columns(pair, "chosen_rating", "rejected_rating")


def as_ultrafeedback(pair: Example) -> dict[str, Any]:
    row = as_trl_implicit(pair._replace(scores=None))
    return {
        "prompt": pair.messages[-1].value,
        "prompt_id": "x",
        **row,
        "messages": row["chosen"],
        **score_columns(pair),
    }


def as_trl_input(pair: Example) -> dict[str, Any]:
    texts = {"prompt": TASK, "input": pair.messages[-1].value, "history": exchanges(pair.messages)}
    answers = {"chosen": pair.chosen, "rejected": pair.rejected}
    return texts | answers | {"system_message": pair.system, **score_columns(pair)}


def as_orca(pair: Example) -> dict[str, Any]:
    texts = {"question": pair.messages[-1].value, "chosen": pair.chosen, "rejected": pair.rejected}
    return {"system_prompt": pair.system, **texts, "history": exchanges(pair.messages), **score_columns(pair)}


def as_input_alone(pair: Example) -> dict[str, Any]:
    """As argilla/distilabel-intel-orca-dpo-pairs: the ratings in the order of the generations."""
    texts = {"input": pair.messages[0].value, "chosen": pair.chosen, "rejected": pair.rejected, "system": pair.system}
    both = list(zip((pair.chosen, pair.rejected), pair.scores or (), strict=False))[:: 1 if first(pair) else -1]
    return texts | {"generations": [text for text, _ in both], "rating": [score for _, score in both]}


def as_responses(pair: Example) -> dict[str, Any]:
    answers = {"chosen_response": pair.chosen, "rejected_response": pair.rejected}
    row = {"instruction": pair.messages[-1].value, "history": exchanges(pair.messages), "system": pair.system}
    return row | answers | score_columns(pair, "chosen_avg_rating", "rejected_avg_rating")


def as_responses_turned(pair: Example) -> dict[str, Any]:
    answers = {"response_chosen": pair.chosen, "response_rejected": pair.rejected}
    return {"question": pair.messages[0].value, "system": pair.system} | answers | score_columns(pair)


def as_alpaca_ranking(pair: Example) -> dict[str, Any]:
    row = {"instruction": TASK, "input": pair.messages[-1].value, "history": exchanges(pair.messages)}
    return row | {"output": [pair.chosen, pair.rejected], "system": pair.system, "rating": list(pair.scores or ())}


def first(pair: Example) -> bool:
    """Whether the better answer stands first where either may; by chance."""
    return len(pair.chosen) % 2 == 0


def as_numbered(pair: Example) -> dict[str, Any]:
    texts = (pair.chosen, pair.rejected)[:: 1 if first(pair) else -1]
    answers = {"response_0": texts[0], "response_1": texts[1], "better_response_id": 1 - first(pair)}
    return {"prompt": pair.messages[0].value, **answers, "safer_response_id": 0, "system": pair.system}


def as_graded(pair: Example) -> dict[str, Any]:
    texts = (pair.chosen, pair.rejected)[:: 1 if first(pair) else -1]
    answers = {"response1": texts[0], "response2": texts[1], "overall_preference": -2 if first(pair) else 1}
    return {"context": roles(pair.messages, pair.system), **answers}


def as_arena(pair: Example) -> dict[str, Any]:
    whole = [roles((*pair.messages, Turn("gpt", text)), pair.system) for text in (pair.chosen, pair.rejected)]
    a, b = whole[:: 1 if first(pair) else -1]
    return {"conversation_a": a, "conversation_b": b, "winner": "model_a" if first(pair) else "model_b"}


def dialogue(turns: tuple[Turn, ...]) -> str:
    return "".join(f"\n\n{'Human' if turn.role == 'human' else 'Assistant'}: {turn.value}" for turn in turns)


def as_hh(pair: Example) -> dict[str, Any]:
    whole = {key: dialogue((*pair.messages, Turn("gpt", getattr(pair, key)))) for key in ("chosen", "rejected")}
    return whole | {"system": pair.system, **score_columns(pair)}


def as_hh_lines(pair: Example) -> dict[str, Any]:
    return {
        key: text.replace("\n\nHuman:", "\nHuman:").replace("\n\nAssistant:", "\nAssistant:").lstrip()
        if isinstance(text, str) and key != "system"
        else text
        for key, text in as_hh(pair).items()
    }


def as_hh_prompt(pair: Example) -> dict[str, Any]:
    answers = {"chosen": " " + pair.chosen, "rejected": " " + pair.rejected}
    prompt = dialogue(pair.messages) + "\n\nAssistant:"
    return {"prompt": prompt, **answers, "system": pair.system, **score_columns(pair)}


def with_parting(pair: Example) -> Example:
    """A pair whose answers part at their first letter, without blanks where texts are joined."""
    question = Turn("human", pair.messages[0].value.rstrip())
    return pair._replace(messages=(question,), responses=("Yes" + pair.chosen, "No" + pair.rejected))


def as_text_prefix(pair: Example) -> dict[str, Any]:
    pair = with_parting(pair)
    prompt = pair.messages[0].value + ("\n" if len(pair.chosen) % 2 else " \n\n")
    answers = {"chosen": prompt + pair.chosen, "rejected": prompt + pair.rejected}
    return answers | {"system": pair.system, **score_columns(pair)}


def candidates(pair: Example) -> list[tuple[str, float | None]]:
    """The two answers, one between them and one without a score, the worst first."""
    better, worse = pair.scores or (1.0, 0.0)
    return [(pair.rejected, worse), ("middle", (better + worse) / 2), ("unscored", None), (pair.chosen, better)]


def as_completions(pair: Example) -> dict[str, Any]:
    listed = [
        {"response": text, "overall_score": score, "model": "m", "annotations": {"truth": {"Rating": "3"}}}
        for text, score in candidates(pair)
    ]
    return {"instruction": pair.messages[0].value, "completions": listed, "source": "s", "system": pair.system}


def as_parallel_lists(pair: Example) -> dict[str, Any]:
    found = [entry for entry in candidates(pair) if entry[1] is not None]
    lists = {"responses": [text for text, _ in found], "scores": [score for _, score in found]}
    return {"messages": roles(pair.messages, pair.system), **lists}


Writer = Callable[[Example], dict[str, Any]]
WRITERS: list[tuple[str, Writer, int]] = [  # shape, writer, most questions that it can hold
    ("pair", as_sharegpt, 3),
    ("pair", as_alpaca, 3),
    ("pair", as_openai, 3),
    ("pair", as_openai_preference, 3),
    ("pair", as_trl_messages, 3),
    ("pair", as_trl_text, 1),
    ("pair", as_trl_implicit, 3),
    ("pair", as_ultrafeedback, 3),
    ("pair", as_trl_input, 3),
    ("pair", as_orca, 3),
    ("pair", as_input_alone, 1),
    ("pair", as_responses, 3),
    ("pair", as_responses_turned, 1),
    ("scored-list", as_alpaca_ranking, 3),
    ("comparison", as_numbered, 1),
    ("comparison", as_graded, 3),
    ("comparison", as_arena, 3),
    ("pair", as_hh, 3),
    ("pair", as_hh_lines, 3),
    ("pair", as_hh_prompt, 3),
    ("implicit-text", as_text_prefix, 1),
    ("scored-list", as_completions, 1),
    ("scored-list", as_parallel_lists, 3),
]


def expected(writer: Writer, pair: Example) -> Example:
    """What comes back of a pair that this writer wrote."""
    if writer is as_text_prefix:
        return with_parting(pair)
    if writer in (as_numbered, as_graded, as_arena):
        return pair._replace(scores=None)
    if writer in (as_trl_input, as_alpaca_ranking):
        return pair._replace(messages=with_task(pair.messages))
    return pair


def expected_label(writer: Callable[[Example], dict[str, Any]], row: Example) -> Example:
    """What comes back of a labelled answer that this writer wrote."""
    return row._replace(messages=with_task(row.messages)) if writer is as_kto_trl_input else row


def with_task(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The last question below the task that it belongs to."""
    return (*turns[:-1], Turn("human", f"{TASK}\n{turns[-1].value}"))


def as_ours(row: Example) -> dict[str, Any]:
    turns = (*row.messages, Turn("gpt", row.chosen))
    return {
        "conversations": [{"from": turn.role, "value": turn.value} for turn in turns],
        "system": row.system,
        "label": row.label,
    }


def as_demo(row: Example) -> dict[str, Any]:
    turns = (*row.messages, Turn("gpt", row.chosen))
    return {"messages": roles(turns, row.system), "label": row.label}


def as_kto_trl_text(row: Example) -> dict[str, Any]:
    return {
        "prompt": row.messages[0].value,
        "completion": row.chosen,
        "label": row.label,
        "system": row.system,
    }


def as_kto_trl_input(row: Example) -> dict[str, Any]:
    asked = {"prompt": TASK, "input": row.messages[-1].value, "history": exchanges(row.messages)}
    return asked | {"response": row.chosen, "label": row.label, "system_prompt": row.system}


def as_kto_trl_messages(row: Example) -> dict[str, Any]:
    return {
        "prompt": roles(row.messages, row.system),
        "completion": [message(row.chosen)],
        "label": str(row.label),
    }


def as_kto_alpaca(row: Example) -> dict[str, Any]:
    alpaca = as_alpaca(Example.pair(row.messages, "", "", row.system))
    del alpaca["chosen"], alpaca["rejected"]
    return alpaca | {"output": row.chosen, "kto_tag": int(row.label)}


LABEL_WRITERS: list[tuple[str, Callable[[Example], dict[str, Any]], int]] = [
    ("label", as_ours, 3),
    ("label", as_demo, 3),
    ("label", as_kto_trl_text, 1),
    ("label", as_kto_trl_input, 3),
    ("label", as_kto_trl_messages, 3),
    ("label", as_kto_alpaca, 3),
]
