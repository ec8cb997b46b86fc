"""What makes a text bad: nothing that is good writing, and everything that is damage, wherever it stands."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conversations import PIECES, pairs, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from rlguide.engine.find import find_engine
from rlguide.preferences.checks import LONGEST_TEXT, TOKENS, fault
from rlguide.preferences.labelled import check_labelled_row, from_pair
from rlguide.preferences.pair import BadRow, Pair, Turn, check_pair, check_structure

CONTROLS = [chr(code) for code in (*range(9), *range(14, 32), *range(0x7F, 0xA0)) if code != 0x85]
# Good writing in many languages, whose UTF-8 is read as Windows-1252 below.
WRITTEN = [
    "it’s", "“quoted”", "a – b", "a — b", "and so on…", "10 €", "née", "über", "Größe", "à la", "señor", "São João",
    "naïve", "20\xa0°C", "20 °C", "£5", "© 2024", "你好", "中文", "こんにちは", "Привет", "мир", "🙂", "👍 ok", "，",
    "→", "✓", "∈", "™",
]  # fmt: skip


# Runs in the engine's Python: prints the marks in brackets around the messages of every template.
MARKS = """
import json, re
from llamafactory.data.template import TEMPLATES
marks = set()
for template in TEMPLATES.values():
    slots = [*template.format_user.slots, *template.format_assistant.slots, *template.format_system.slots]
    texts = [slot if isinstance(slot, str) else slot.get("token", "") for slot in slots if not isinstance(slot, set)]
    for text in [*texts, *template.stop_words]:
        marks.update(re.findall("<[|\uff5c][^<>\\s]+[|\uff5c]>|<[^<>\\s]+_turn>|\\\\[/?INST\\\\]|<</?SYS>>", text))
print("MARKS" + json.dumps(sorted(marks)))
"""


def misread(text: str) -> str:
    """UTF-8 as a reader of Windows-1252 shows it; the five bytes that it has no sign for as Latin-1."""
    return "".join(
        bytes([byte]).decode("cp1252", errors="ignore") or chr(byte) if byte > 0x7F else chr(byte)
        for byte in text.encode()
    )


def in_each_place(text: str) -> list[Pair]:
    """Pairs with the text in each place that a pair has."""
    ask, reply = Turn("human", "q"), Turn("gpt", "r")
    bad = {"human": Turn("human", text), "gpt": Turn("gpt", text)}
    return [
        Pair((bad["human"],), "a", "b"),
        Pair((bad["human"], reply, ask), "a", "b"),
        Pair((ask, bad["gpt"], ask), "a", "b"),
        Pair((ask,), text, "b"),
        Pair((ask,), "a", text),
        Pair((ask,), "a", "b", text),
    ]


@given(pairs())
def test_good_writing_is_never_refused(pair: Pair) -> None:
    check_pair(pair)
    for row in from_pair(pair):
        check_labelled_row(row)


@pytest.mark.parametrize("piece", [*PIECES, *WRITTEN])
def test_no_piece_of_good_writing_is_refused(piece: str) -> None:
    assert fault([piece]) == ""


DAMAGE = st.one_of(
    st.sampled_from(TOKENS),
    st.sampled_from(["<|some_new_token|>", "<｜new▁token｜>"]),
    st.sampled_from(CONTROLS),
    st.sampled_from("\ufffd\ud800\udfff"),
    st.sampled_from(WRITTEN).map(misread),
)


@settings(max_examples=300)
@given(texts, DAMAGE, st.data())
def test_damage_is_refused_wherever_it_stands(text: str, damage: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    spoiled = text[:at] + damage + text[at:]
    assert fault([spoiled])
    for pair in in_each_place(spoiled):
        with pytest.raises(BadRow):
            check_pair(pair)
        check_structure(pair)  # the engine takes it


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_is_named(token: str) -> None:
    assert fault([f"a{token}b"]) == f"a text holds the chat-template token {token}"


def test_tokens_to_come_share_one_reason() -> None:
    assert {fault([f"x <|token_{number}|>"]) for number in range(9)} == {"a text holds the chat-template token <|...|>"}


@pytest.mark.parametrize("written", WRITTEN)
def test_every_misread_text_is_refused_for_that(written: str) -> None:
    assert "(encoding damage)" in fault([misread(written)])


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("answer</s>", True),
        ("answer </s>\n", True),
        ("<s>struck out</s>", False),
        ("use </s> to end", False),
        ("<think>so</think>", False),
        ("f <| x |> g", False),
        ("a || b <|> c", False),
        ("[INS] x [1](y)", False),
    ],
)
def test_what_only_looks_like_a_token_is_kept(text: str, bad: bool) -> None:
    assert bool(fault([text, "other"])) is bad
    assert not fault(["</s", ">"])


def test_the_length_of_one_text_counts() -> None:
    assert fault(["x" * LONGEST_TEXT, "y" * LONGEST_TEXT]) == ""
    assert fault(["x" * (LONGEST_TEXT + 1)]) == "a text is longer than 200,000 characters"


@pytest.mark.engine
def test_the_marks_of_the_engines_templates_are_known(tmp_path: Path) -> None:
    """What the engine's templates put around a message, and their stop words, are found in a text."""
    engine = find_engine()
    script = tmp_path / "marks.py"
    script.write_text(MARKS, encoding="utf-8")
    done = subprocess.run([str(engine.python), str(script)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    marks = set(json.loads(done.stdout.rsplit("MARKS", 1)[1]))
    assert {"<|im_start|>", "<|eot_id|>", "<start_of_turn>", "[INST]", "<｜User｜>"} <= marks
    assert [mark for mark in sorted(marks) if not fault([mark])] == []
