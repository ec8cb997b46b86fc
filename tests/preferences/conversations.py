"""Random conversations, and each of them as a row of every format that rlguide reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from rlguide.preferences.labelled import Labelled, from_pair
from rlguide.preferences.pair import Pair, Turn

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
texts = (
    st.lists(st.text(CHARACTERS, min_size=1, max_size=30) | st.sampled_from(PIECES), min_size=1, max_size=3)
    .map("".join)
    .filter(str.strip)
)
scores = st.tuples(st.integers(-9, 9), st.integers(1, 9)).map(lambda drawn: (float(sum(drawn)), float(drawn[0])))


@st.composite
def pairs(draw: st.DrawFn, most_turns: int = 3, with_system: bool = True) -> Pair:
    count = 2 * draw(st.integers(0, most_turns - 1)) + 1
    messages = tuple(Turn("gpt" if index % 2 else "human", draw(texts)) for index in range(count))
    chosen = draw(texts)
    rejected = draw(texts.filter(lambda text: text.strip() != chosen.strip()))
    return Pair(messages, chosen, rejected, draw(texts | st.just("")) if with_system else "", draw(scores))


@st.composite
def labels(draw: st.DrawFn, most_turns: int = 3) -> Labelled:
    return draw(st.sampled_from(from_pair(draw(pairs(most_turns)))))


def roles(turns: tuple[Turn, ...], system: str = "") -> list[dict[str, str]]:
    first = [{"role": "system", "content": system}] if system else []
    return first + [{"role": "assistant" if t.role == "gpt" else "user", "content": t.value} for t in turns]


def message(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def score_columns(pair: Pair, chosen: str = "score_chosen", rejected: str = "score_rejected") -> dict[str, float]:
    return dict(zip((chosen, rejected), pair.scores or (), strict=False))


def as_sharegpt(pair: Pair) -> dict[str, Any]:
    return {
        "conversations": [{"from": turn.role, "value": turn.value} for turn in pair.messages],
        "system": pair.system,
        "chosen": {"from": "gpt", "value": pair.chosen},
        "rejected": {"from": "gpt", "value": pair.rejected},
        **score_columns(pair),
    }


def as_alpaca(pair: Pair) -> dict[str, Any]:
    turns = pair.messages
    return {
        "instruction": turns[-1].value,
        "input": "",
        "history": [[turns[i].value, turns[i + 1].value] for i in range(0, len(turns) - 1, 2)],
        "system": pair.system,
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        **score_columns(pair, "chosen_score", "rejected_score"),
    }


def as_openai(pair: Pair) -> dict[str, Any]:
    answers = {key: message(getattr(pair, key)) for key in ("chosen", "rejected")}
    return {"messages": roles(pair.messages, pair.system), **answers, **score_columns(pair)}


def as_openai_preference(pair: Pair) -> dict[str, Any]:
    outputs = {"preferred_output": [message(pair.chosen)], "non_preferred_output": [message(pair.rejected)]}
    return {"input": {"messages": roles(pair.messages, pair.system)}, **outputs, **score_columns(pair)}


def as_trl_messages(pair: Pair) -> dict[str, Any]:
    answers = {key: [message(getattr(pair, key))] for key in ("chosen", "rejected")}
    return {"prompt": roles(pair.messages, pair.system), **answers, **score_columns(pair)}


def as_trl_text(pair: Pair) -> dict[str, Any]:
    texts = {"prompt": pair.messages[0].value, "chosen": pair.chosen, "rejected": pair.rejected}
    return texts | {"system": pair.system, **score_columns(pair, "chosen-rating", "rejected-rating")}


def as_trl_implicit(pair: Pair) -> dict[str, Any]:
    whole = roles(pair.messages, pair.system)
    answers = {key: [*whole, message(getattr(pair, key))] for key in ("chosen", "rejected")}
    return answers | score_columns(pair, "chosen_rating", "rejected_rating")


def as_ultrafeedback(pair: Pair) -> dict[str, Any]:
    row = as_trl_implicit(pair._replace(scores=None))
    return {
        "prompt": pair.messages[-1].value,
        "prompt_id": "x",
        **row,
        "messages": row["chosen"],
        **score_columns(pair),
    }


def as_orca(pair: Pair) -> dict[str, Any]:
    texts = {"question": pair.messages[0].value, "chosen": pair.chosen, "rejected": pair.rejected}
    return {"system": pair.system, **texts, **score_columns(pair)}


def dialogue(turns: tuple[Turn, ...]) -> str:
    return "".join(f"\n\n{'Human' if turn.role == 'human' else 'Assistant'}: {turn.value}" for turn in turns)


def as_hh(pair: Pair) -> dict[str, Any]:
    whole = {key: dialogue((*pair.messages, Turn("gpt", getattr(pair, key)))) for key in ("chosen", "rejected")}
    return whole | {"system": pair.system, **score_columns(pair)}


def as_hh_prompt(pair: Pair) -> dict[str, Any]:
    answers = {"chosen": " " + pair.chosen, "rejected": " " + pair.rejected}
    prompt = dialogue(pair.messages) + "\n\nAssistant:"
    return {"prompt": prompt, **answers, "system": pair.system, **score_columns(pair)}


def with_parting(pair: Pair) -> Pair:
    """A pair whose answers part at their first letter, without blanks where texts are joined."""
    question = Turn("human", pair.messages[0].value.rstrip())
    return pair._replace(messages=(question,), chosen="Yes" + pair.chosen, rejected="No" + pair.rejected)


def as_text_prefix(pair: Pair) -> dict[str, Any]:
    pair = with_parting(pair)
    prompt = pair.messages[0].value + ("\n" if len(pair.chosen) % 2 else " ")
    answers = {"chosen": prompt + pair.chosen, "rejected": prompt + pair.rejected}
    return answers | {"system": pair.system, **score_columns(pair)}


def candidates(pair: Pair) -> list[tuple[str, float | None]]:
    """The two answers, one between them and one without a score, the worst first."""
    better, worse = pair.scores or (1.0, 0.0)
    return [(pair.rejected, worse), ("middle", (better + worse) / 2), ("unscored", None), (pair.chosen, better)]


def as_completions(pair: Pair) -> dict[str, Any]:
    listed = [
        {"response": text, "overall_score": score, "model": "m", "annotations": {"truth": {"Rating": "3"}}}
        for text, score in candidates(pair)
    ]
    return {"instruction": pair.messages[0].value, "completions": listed, "source": "s", "system": pair.system}


def as_parallel_lists(pair: Pair) -> dict[str, Any]:
    found = [entry for entry in candidates(pair) if entry[1] is not None]
    lists = {"responses": [text for text, _ in found], "scores": [score for _, score in found]}
    return {"messages": roles(pair.messages, pair.system), **lists}


Writer = Callable[[Pair], dict[str, Any]]
WRITERS: list[tuple[str, Writer, int]] = [  # format, writer, most questions that it can hold
    ("sharegpt", as_sharegpt, 3),
    ("alpaca", as_alpaca, 3),
    ("openai", as_openai, 3),
    ("openai-preference", as_openai_preference, 3),
    ("trl", as_trl_messages, 3),
    ("trl", as_trl_text, 1),
    ("trl-implicit", as_trl_implicit, 3),
    ("ultrafeedback", as_ultrafeedback, 3),
    ("orca", as_orca, 1),
    ("hh", as_hh, 3),
    ("hh", as_hh_prompt, 3),
    ("trl-implicit-text", as_text_prefix, 1),
    ("scored-list", as_completions, 1),
    ("scored-list", as_parallel_lists, 3),
]


def expected(writer: Writer, pair: Pair) -> Pair:
    """What comes back of a pair that this writer wrote."""
    return with_parting(pair) if writer is as_text_prefix else pair


def as_ours(row: Labelled) -> dict[str, Any]:
    turns = (*row.messages, Turn("gpt", row.answer))
    return {
        "conversations": [{"from": turn.role, "value": turn.value} for turn in turns],
        "system": row.system,
        "label": row.desirable,
    }


def as_demo(row: Labelled) -> dict[str, Any]:
    turns = (*row.messages, Turn("gpt", row.answer))
    return {"messages": roles(turns, row.system), "label": row.desirable}


def as_kto_trl_text(row: Labelled) -> dict[str, Any]:
    return {
        "prompt": row.messages[0].value,
        "completion": row.answer,
        "label": row.desirable,
        "system": row.system,
    }


def as_kto_trl_messages(row: Labelled) -> dict[str, Any]:
    return {
        "prompt": roles(row.messages, row.system),
        "completion": [message(row.answer)],
        "label": str(row.desirable),
    }


def as_kto_alpaca(row: Labelled) -> dict[str, Any]:
    alpaca = as_alpaca(Pair(row.messages, "", "", row.system))
    del alpaca["chosen"], alpaca["rejected"]
    return alpaca | {"output": row.answer, "kto_tag": int(row.desirable)}


LABEL_WRITERS: list[tuple[str, Callable[[Labelled], dict[str, Any]], int]] = [
    ("kto-messages", as_ours, 3),
    ("kto-messages", as_demo, 3),
    ("kto-trl", as_kto_trl_text, 1),
    ("kto-trl", as_kto_trl_messages, 3),
    ("kto-alpaca", as_kto_alpaca, 3),
]
