"""Which language a text is in."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlguide.data.curate.language import OTHER, language

TEXTS = {
    "en": "Write a short poem about the sea and explain what it means.",
    "zh": "请写一首关于大海的短诗,并解释它的含义。",
    "ja": "海についての短い詩を書いて、その意味を説明してください。",
    "ko": "바다에 대한 짧은 시를 쓰고 그 의미를 설명해 주세요.",
    "ru": "Напишите короткое стихотворение о море и объясните, что оно означает.",
    "uk": "Напишіть короткий вірш про море і поясніть, що він означає.",
    "ar": "اكتب قصيدة قصيرة عن البحر واشرح معناها.",
    "fa": "یک شعر کوتاه دربارهٔ دریا بنویس و معنای آن را توضیح بده.",
    "he": "כתוב שיר קצר על הים והסבר מה הוא אומר.",
    "el": "Γράψε ένα σύντομο ποίημα για τη θάλασσα.",
    "th": "เขียนบทกวีสั้น ๆ เกี่ยวกับทะเล",
    "hi": "समुद्र के बारे में एक छोटी कविता लिखें।",
    "de": "Schreibe ein kurzes Gedicht über das Meer und erkläre, was es bedeutet.",
    "fr": "Écris un court poème sur la mer et explique ce qu'il veut dire.",
    "es": "Escribe un poema corto sobre el mar y explica lo que significa.",
    "it": "Scrivi una breve poesia sul mare e spiega che cosa significa.",
    "pt": "Escreva um poema curto sobre o mar e explique o que ele significa.",
    "nl": "Schrijf een kort gedicht over de zee en leg uit wat het betekent.",
    "pl": "Napisz krótki wiersz o morzu i wyjaśnij, co on oznacza.",
    "vi": "Viết một bài thơ ngắn về biển và giải thích ý nghĩa của nó.",
    "tr": "Deniz hakkında kısa bir şiir yaz ve ne anlama geldiğini açıkla.",
    "id": "Tulislah puisi pendek tentang laut dan jelaskan apa artinya.",
}


@pytest.mark.parametrize("code", TEXTS)
def test_tells_the_language_of_a_sentence(code: str) -> None:
    assert language(TEXTS[code]) == code


def test_chinese_with_english_terms_in_it_is_chinese_and_the_other_way_round() -> None:
    assert language("用 Python 写一个 function,把 list 里的 duplicates 去掉") == "zh"
    assert language("What is the meaning of the Chinese word 大海, and how do you say it?") == "en"


@pytest.mark.parametrize("text", ["", "   ", "12 * 7 = 84", "🙂🙂🙂", "\ud800", "∑∫√"])
def test_does_not_guess(text: str) -> None:
    assert language(text) == OTHER


@pytest.mark.parametrize(
    "text",
    ["Solve the equation 3x + 4 = 10.", "Give me 5 names for a cat", "i am bored, tell me something funny"],
)
def test_short_english_is_english(text: str) -> None:
    assert language(text) == "en"


@given(st.text())
@settings(deadline=None)  # the first text in need of it loads the library
def test_any_text_has_an_answer_that_its_tail_does_not_change(text: str) -> None:
    answer = language(text)
    assert answer == OTHER or (len(answer) == 2 and answer.islower())
    padded = text[:300].ljust(300)
    assert language(padded) == language(padded + TEXTS["zh"] * 9)


def test_english_and_chinese_need_no_library() -> None:
    code = (
        "import sys; from rlguide.data.curate.language import language;"
        f"assert language({TEXTS['en']!r}) == 'en' and language({TEXTS['zh']!r}) == 'zh';"
        "assert not {'numpy', 'py3langid'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


SENTENCES = [line.split("\t", 1) for line in Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()]


def test_enough_short_sentences_are_told_and_of_two_together_nearly_all() -> None:
    """Measured: 138 of 170 alone, 6 of them as another language; a row has a prompt and a response."""
    assert len(SENTENCES) >= 150
    told = [(code, language(text)) for code, text in SENTENCES]
    assert sum(code == found for code, found in told) >= 135
    assert sum(found not in (code, OTHER) for code, found in told) <= 8
    together = [
        code == language(f"{text}\n{more}") for (code, text), (other, more) in pairwise(SENTENCES) if code == other
    ]
    assert sum(together) >= 0.95 * len(together)
