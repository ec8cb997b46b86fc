"""What makes a text bad: nothing that is good writing, and everything that is damage, wherever it stands."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlguide.data.checks.examples import check_example, check_structure
from rlguide.data.checks.text import CONTROL, ESCAPES, LONGEST_TEXT, MOJIBAKE, TOKENS, fault
from rlguide.data.example import BadRow, Example, Turn
from rlguide.engine.find import find_engine
from tests.data.conversations import PIECES, pairs, texts

CONTROLS = [chr(code) for code in (*range(9), *range(14, 32), *range(0x7F, 0xA0)) if code != 0x85]
# Good writing in many languages, whose UTF-8 is read as Windows-1252 below.
WRITTEN = [
    "it’s", "“quoted”", "a – b", "a — b", "and so on…", "10 €", "née", "über", "Größe", "à la", "señor", "São João",
    "naïve", "20\xa0°C", "20 °C", "£5", "© 2024", "你好", "中文", "こんにちは", "Привет", "мир", "🙂", "👍 ok", "，",
    "→", "✓", "∈", "™",
    "şehir", "İstanbul", "ağaç", "więc", "są", "Żeby", "łódź", "Česko", "škoda", "řeka", "dům", "tiếng", "Việt",
    "người", "Ελλάδα", "και", "한국어", "사람", "שלום", "שלנו", "العربية", "في", "ภาษาไทย", "हिन्दी", "ქართული",
    "հայերեն", "și", "đa", "ķirsis", "őrült", "gyönyörű", "日本語", "українська", "þetta", "¿qué?",
]  # fmt: skip
WRITTEN_IN_CHINESE = [
    "你好，世界。",
    "今天天气很好",
    "是的，我们可以在这里。",
    "请问这是什么？",
    "人工智能的发展，改变了我们的生活。",
]
# What only looks like damage.
ODD = [
    "Pelé¹²", "liberté…»", "«été»™", "víš…", "víš”", "slyšíš–li", "2×½", "Ø½ Zoll", "1.5 Å±0.1", "3 Å²", "kcal/molÅ²",
    "der Buchstabe „Ä“", "„Spaß“", "SÍ¡", "está»—dijo", "CAFÉ™", "IRMÃ…", "é° Nestlé®’s", "“É”", "Nestlé® ",
    "烫烫烫！", "好烫烫烫的", "浣熊很可爱，涓涓细流", "木锛和鐨字", "锟字", "页面显示 â€™ 是乱码",
    "“Ã©” is mojibake for é", "锟斤拷是什么意思？", "How to fix â€œ in MySQL utf8?", "GRÅ“hej”",
    "为什么是锟斤拷？那是编码问题", "parser <|many1|> foo", "f <|x", "ESPAÑA – ¡Olé!",
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


def mojibake(text: str) -> str:
    """UTF-8 as a reader of Windows-1252 shows it; the five bytes that it has no sign for as Latin-1."""
    return "".join(
        bytes([byte]).decode("cp1252", errors="ignore") or chr(byte) if byte > 0x7F else chr(byte)
        for byte in text.encode()
    )


def misread_as_gbk(text: str) -> str:
    """UTF-8 as a reader of GBK shows it, with "?" for what is none."""
    return text.encode().decode("gbk", errors="replace").replace("\ufffd", "?")


def in_each_place(text: str) -> list[Example]:
    """Pairs with the text in each place that a pair has."""
    ask, reply = Turn("human", "q"), Turn("gpt", "r")
    bad = {"human": Turn("human", text), "gpt": Turn("gpt", text)}
    return [
        Example.pair((bad["human"],), "a", "b"),
        Example.pair((bad["human"], reply, ask), "a", "b"),
        Example.pair((ask, bad["gpt"], ask), "a", "b"),
        Example.pair((ask,), text, "b"),
        Example.pair((ask,), "a", text),
        Example.pair((ask,), "a", "b", text),
    ]


@given(pairs())
def test_good_writing_is_never_refused(pair: Example) -> None:
    check_example(pair)
    for row in pair.split():
        check_example(row)


@pytest.mark.parametrize("piece", [*PIECES, *WRITTEN, *WRITTEN_IN_CHINESE, *ODD])
def test_no_piece_of_good_writing_is_refused(piece: str) -> None:
    assert fault([piece]) == ""


DAMAGE = st.one_of(
    st.sampled_from(TOKENS),
    st.sampled_from(["<|some_new_token|>", "<｜new▁token｜>"]),
    st.sampled_from(CONTROLS),
    st.sampled_from("\ufffd\ud800\udfff"),
    st.sampled_from(WRITTEN).map(mojibake),
    st.sampled_from(WRITTEN_IN_CHINESE).map(misread_as_gbk),
    st.sampled_from(["锟斤拷", "烫烫烫烫", "屯屯屯", "\x1b[31m"]),
)


@settings(max_examples=300)
@given(texts, DAMAGE, st.data())
def test_damage_is_refused_wherever_it_stands(text: str, damage: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    spoiled = text[:at] + damage + text[at:]
    assert fault([spoiled])
    for pair in in_each_place(spoiled):
        with pytest.raises(BadRow):
            check_example(pair)
        check_structure(pair)  # the engine takes it


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_is_named(token: str) -> None:
    assert fault([f"a{token}b"]) == f"a text holds the chat-template token {token}"


def test_tokens_to_come_share_one_reason() -> None:
    assert {fault([f"x <|token_{number}|>"]) for number in range(9)} == {"a text holds the chat-template token <|...|>"}


@pytest.mark.parametrize("written", WRITTEN)
def test_every_misread_text_is_refused_for_that(written: str) -> None:
    assert "(encoding damage)" in fault([mojibake(written)])
    assert "(encoding damage)" in fault([f"Well, {mojibake(written)} it is."])


@pytest.mark.parametrize("written", [*WRITTEN_IN_CHINESE, "こんにちは、世界。"])
@pytest.mark.parametrize("before", ["", "a", "ok: ", "你好，"])
def test_chinese_that_was_read_as_gbk_is_refused(written: str, before: str) -> None:
    assert fault([before + misread_as_gbk(written)]) == MOJIBAKE
    assert not fault([before + written])


@pytest.mark.parametrize(
    "damaged", ["锟斤拷", "锟斤拷锟斤拷 hello", "烫烫烫", "屯屯屯屯", "don鈥檛", "鈥渉ello鈥?", "浣犲ソ锛屼笘鐣?"]
)
def test_the_classic_kinds_of_damage_are_refused(damaged: str) -> None:
    assert fault([f"it is {damaged}, really"]) == fault([damaged]) == MOJIBAKE


def test_control_characters_and_colours_have_their_own_reasons() -> None:
    assert fault(["\x1b[31mred\x1b[0m"]) == fault(["很 \x1b[1m"]) == ESCAPES
    assert fault(["\x1b alone"]) == fault(["很\x00"]) == CONTROL
    assert "encoding damage" not in ESCAPES


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
