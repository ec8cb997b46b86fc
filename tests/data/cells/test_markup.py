"""Conversations written as one text come back as turns, and nothing of their markers is left."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlguide.catalog.markup import styles
from rlguide.data.cells.markup import style_of, turns_of
from rlguide.data.example import BadRow, Turn
from rlguide.data.formats.reading import choose_reading

# How each style is written: system, user, assistant, and what opens the place of a response.
WRITTEN = {
    "chatml": (
        "<|im_start|>system\n{}<|im_end|>\n",
        "<|im_start|>user\n{}<|im_end|>\n",
        "<|im_start|>assistant\n{}<|im_end|>\n",
        "<|im_start|>assistant\n",
    ),
    "llama3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n{}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "granite": (
        "<|start_of_role|>system<|end_of_role|>{}<|end_of_text|>\n",
        "<|start_of_role|>user<|end_of_role|>{}<|end_of_text|>\n",
        "<|start_of_role|>assistant<|end_of_role|>{}<|end_of_text|>\n",
        "<|start_of_role|>assistant<|end_of_role|>",
    ),
    "llama2": ("", "<s>[INST] {} [/INST]", " {} </s>", ""),
    "gemma": (
        "",
        "<start_of_turn>user\n{}<end_of_turn>\n",
        "<start_of_turn>model\n{}<end_of_turn>\n",
        "<start_of_turn>model\n",
    ),
    "deepseek": (
        "<｜begin▁of▁sentence｜>{}",
        "<｜User｜>{}",
        "<｜Assistant｜>{}<｜end▁of▁sentence｜>",
        "<｜Assistant｜>",
    ),
    "zephyr": ("<|system|>\n{}</s>\n", "<|user|>\n{}</s>\n", "<|assistant|>\n{}</s>\n", "<|assistant|>\n"),
    "extra_id": (
        "<extra_id_0>System\n{}\n",
        "<extra_id_1>User\n{}\n",
        "<extra_id_1>Assistant\n{}\n",
        "<extra_id_1>Assistant\n",
    ),
    "blank_lines": ("", "\n\nHuman: {}", "\n\nAssistant: {}", "\n\nAssistant:"),
    "alpaca": ("", "### Instruction:\n{}\n\n", "### Response:\n{}\n\n", "### Response:"),
    "lines": ("", "用户：{}\n", "助手：{}\n", "助手："),
    "cohere": (
        "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>{}<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{}<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{}<|END_OF_TURN_TOKEN|>",
        "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    ),
    "harmony": (
        "<|start|>system<|message|>{}<|end|>",
        "<|start|>user<|message|>{}<|end|>",
        "<|start|>assistant<|channel|>final<|message|>{}<|end|>",
        "<|start|>assistant<|channel|>final<|message|>",
    ),
    "openchat": (
        "",
        "GPT4 Correct User: {}<|end_of_turn|>",
        "GPT4 Correct Assistant: {}<|end_of_turn|>",
        "GPT4 Correct Assistant:",
    ),
    "baichuan": ("", "<reserved_106>{}", "<reserved_107>{}</s>", "<reserved_107>"),
    "vicuna": ("", "USER: {} ", "ASSISTANT: {}</s>", "ASSISTANT:"),
}
TEXT = st.text("abc é好,.!?", min_size=1, max_size=12).map(str.strip).filter(bool)
TALKS = st.lists(TEXT, min_size=1, max_size=5).filter(lambda texts: len(texts) % 2 == 1)


def test_every_style_is_written_here() -> None:
    assert {style.name for style in styles()} == {*WRITTEN}


@pytest.mark.parametrize("name", WRITTEN)
@settings(max_examples=40)
@given(talks=st.lists(TALKS, min_size=2, max_size=4), system=TEXT, data=st.data())
def test_what_is_written_comes_back(name: str, talks: list[list[str]], system: str, data: Any) -> None:
    above, user, assistant, opening = WRITTEN[name]
    rows = []
    for texts in talks:
        prompt = "".join((assistant if at % 2 else user).format(text) for at, text in enumerate(texts))
        prompt = above.format(system) + prompt
        chosen, rejected = data.draw(TEXT), data.draw(TEXT)
        rows.append({"chosen": prompt + assistant.format(chosen), "rejected": prompt + assistant.format(rejected)})
        split = {"prompt": prompt + opening, **{key: value.removeprefix(prompt) for key, value in rows[-1].items()}}
        for row in (rows[-1], split):
            reading = choose_reading([row] * 3, "file")
            (pair,) = reading.to_examples(row)
            assert [turn.value.strip() for turn in pair.messages] == texts
            assert (pair.chosen.strip(), pair.rejected.strip()) == (chosen, rejected)
            assert pair.system.strip() == (system if above else "")


def test_a_system_prompt_of_llama2_is_found() -> None:
    text = "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nName a tree. [/INST]"
    style = style_of([text])
    assert style is not None
    assert turns_of(style, text) == (Turn("system", "Be brief."), Turn("human", "Name a tree."))


def test_an_input_of_alpaca_stands_below_its_instruction() -> None:
    above = "Below is an instruction that describes a task.\n\n"
    text = f"{above}### Instruction:\nSort.\n\n### Input:\nb, a\n\n### Response:\n"
    style = style_of([text])
    assert style is not None
    (turn,) = turns_of(style, text)
    assert isinstance(turn, Turn)
    assert turn.value.strip() == "Sort.\nb, a"


@pytest.mark.parametrize(
    "texts",
    [
        ["Q: is a letter.", "What is it?"],
        ["Question: 1 + 1?", "Question: 2 + 2?"],
        ["Answer: 4", "Answer: 5"],
        ["System: Linux", "System: BSD"],
        ["He said:\nUser: x", "plain", "text"],
        ["1 < 2 | 3 > 2", "[INST"],
        ["### Question: why?"],
        ["人：有两只手。", "机器：能干活。"],
        ["Tell me what <｜User｜> means.", "I met A chat between USER: and others."],
    ],
)
def test_ordinary_texts_are_left_alone(texts: list[str]) -> None:
    assert style_of(texts) is None


def test_a_text_before_the_first_marker_is_a_bad_row() -> None:
    style = style_of(["Human: q\nAssistant: a"])
    assert style is not None
    with pytest.raises(BadRow, match="does not begin with one of its markers"):
        turns_of(style, "Some story\nHuman: q\nAssistant: a")


def test_prompts_of_one_turn_lose_their_marker() -> None:
    rows = [
        {"prompt": f"### Human: Name tree {n}.", "chosen": "### Assistant: Oak.", "rejected": "### Assistant: No."}
        for n in range(9)
    ]
    (pair,) = choose_reading(rows, "file").to_examples(rows[0])
    assert (pair.messages, pair.responses) == ((Turn("human", "Name tree 0."),), ("Oak.", "No."))


DIALOGUES = [
    ("<human>: {}\n<bot>: ", "{}"),
    ("[User]: {}\n[Assistant]: ", "{}"),
    ("HUMAN: {}\nASSISTANT: ", "{}"),
    ("人：{}\n机器：", "{}"),
    ("[Round 1]\n\n问：{}\n\n答：", "{}"),
    ("<|prompter|>{}<|endoftext|><|assistant|>", "{}<|endoftext|>"),
    ("<|User|>{}<|end|><|Bot|>", "{}<|end|>"),
    ("<|im_start|>user<|im_sep|>{}<|im_end|><|im_start|>assistant<|im_sep|>", "{}<|im_end|>"),
    (
        "<|begin_of_text|><|header_start|>user<|header_end|>\n\n{}<|eot|><|header_start|>assistant<|header_end|>\n\n",
        "{}<|eot|>",
    ),
    ("<｜begin▁of▁sentence｜><｜User｜>{}<｜Assistant｜>", "{}<｜end▁of▁sentence｜>"),
]


@pytest.mark.parametrize(("asked", "said"), DIALOGUES)
def test_markers_of_other_names_are_taken_off(asked: str, said: str) -> None:
    texts = [(f"Name tree {n}, please.", f"Oak number {n}.", f"No {n}.") for n in range(9)]
    split = [
        {"prompt": asked.format(q).rstrip(), "chosen": said.format(a), "rejected": said.format(b)} for q, a, b in texts
    ]
    whole = [
        {side: asked.format(q) + said.format(r) for side, r in (("chosen", a), ("rejected", b))} for q, a, b in texts
    ]
    for rows in (split, whole):
        reading = choose_reading(rows, "file")
        pairs = [pair for row in rows for pair in reading.to_examples(row)]
        found = [
            (*[turn.value.strip() for turn in pair.messages], pair.chosen.strip(), pair.rejected) for pair in pairs
        ]
        assert found == texts


@pytest.mark.parametrize("above", ["<｜begin▁of▁sentence｜>{}<｜User｜>{}<｜Assistant｜>", "{} USER: {} ASSISTANT:"])
def test_a_system_prompt_without_a_marker_is_kept(above: str) -> None:
    system = "A chat between a curious user and an AI."
    rows = [{"prompt": above.format(system, f"Tree {n}?"), "chosen": "Oak.", "rejected": "No."} for n in range(9)]
    (pair,) = choose_reading(rows, "file").to_examples(rows[0])
    assert (pair.system, pair.messages) == (system, (Turn("human", "Tree 0?"),))


def test_the_choices_of_a_question_stay_in_it() -> None:
    rows = [
        {"prompt": f"Question: {n} + 1?\nA: {n}\nB: more\nAnswer:", "chosen": "B", "rejected": "A"} for n in range(9)
    ]
    (pair,) = choose_reading(rows, "file").to_examples(rows[0])
    assert [turn.value.strip() for turn in pair.messages] == ["0 + 1?\nA: 0\nB: more"]
