"""Writes a response that follows every instruction of a prompt, without a model: it shows that there is one."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator

from rlguide.evaluation.instructions.check import check
from rlguide.evaluation.instructions.prompts import InstructionPrompt

# Sentences that hold none of the words, letters and numbers that the bundled prompts ask for or forbid.
BANK = {
    "en": ["It is good to go slow and to look around.", "Some of it is hard at first but it gets better.",
           "Most people come to like it in the end."],
    "zh": ["大家慢慢来就好。", "先看看再想想也可以。", "多走走多听听总是好的。"],
    "zh-traditional": ["大家慢慢來就好。", "先看看再想想也可以。", "多走走多聽聽總是好的。"],
    "fr": ["C'est une petite histoire de la ville et de ses habitants.", "Nous sommes heureux de vous la raconter."],
    "de": ["Das ist eine kleine Geschichte über die Stadt und ihre Leute.", "Wir erzählen sie gern noch einmal."],
    "es": ["Esta es una pequeña historia de la ciudad y de su gente.", "Nos gusta mucho contarla en las noches."],
    "ja": ["これは町と人々についての小さな話です。", "みんなで楽しく聞いてください。"],
    "ru": ["Это небольшая история о городе и о людях.", "Мы очень любим её рассказывать."],
    "ko": ["이것은 도시와 사람들에 대한 작은 이야기입니다.", "우리는 이 이야기를 좋아합니다."],
}  # fmt: skip
WIDE = {"zh", "zh-traditional", "ja"}
MOST = 80  # sentences


def respond(prompt: InstructionPrompt) -> str:
    """The first that follows all, of those with 0, 1, 2, ... sentences besides what is asked for; "" if none does."""
    drafts = (_Draft(prompt, number).text() for number in range(MOST))
    return next((text for text in drafts if all(check(prompt, text).strict)), "")


class _Draft:
    def __init__(self, prompt: InstructionPrompt, number: int) -> None:
        self.asked = {item.kind: item.arguments for item in prompt.instructions}
        self.language = self.asked.get("language", {}).get("language", prompt.language)
        if "traditional" in self.asked:
            self.language = "zh-traditional"
        self.space = "" if self.language in WIDE else " "
        self.number = number

    def text(self) -> str:
        """The response."""
        if "options" in self.asked:
            return str(self.asked["options"]["options"][0])
        if "line_characters" in self.asked:
            return "\n".join(["大" * self.asked["line_characters"]["characters"]] * 4)
        if "json_keys" in self.asked or "json" in self.asked:
            keys = self.asked.get("json_keys", {}).get("keys", ["1"])
            return json.dumps(dict.fromkeys(keys, "".join(self._sentences(1)[0])), ensure_ascii=False)
        return self._spelled(self._wrapped(self._begun_and_ended(self._body())))

    def _body(self) -> str:
        for kind, between in (("paragraphs", "\n\n"), ("divided_paragraphs", "\n***\n"), ("lines", "\n")):
            if kind in self.asked:
                return between.join(self._blocks(self._exactly(kind)))
        if "first_word" in self.asked:
            asked = self.asked["first_word"]
            blocks = self._blocks(asked["paragraphs"])
            blocks[asked["nth"] - 1] = f"{asked['word']} {blocks[asked['nth'] - 1]}"
            return "\n\n".join(blocks)
        if "two_responses" in self.asked:
            return "\n******\n".join(self._blocks(2))
        text = "\n".join(self._titled(self._blocks(max(2, self._exactly("sections"), self._exactly("headings")))))
        for kind, mark in (("bullets", "-"), ("numbered", "1.")):
            if kind in self.asked:
                text += "\n" + "\n".join([f"{mark} {self._short()}"] * self._exactly(kind))
        if "table" in self.asked:
            columns = self.asked["table"]["columns"]
            text += "\n\n" + "\n".join("|" + f"{cell}|" * columns for cell in (self._word(), "---", self._word()))
        return text

    def _titled(self, blocks: list[str]) -> Iterator[str]:
        for number, block in enumerate(blocks, start=1):
            if "headings" in self.asked:
                yield f"# {self._short()}"
            if "sections" in self.asked:
                yield f"{self.asked['sections']['marker']} {number}"
            yield block

    def _exactly(self, kind: str) -> int:
        asked = self.asked.get(kind, {})
        return int(asked.get("at_most", asked.get("at_least", 0)))

    def _short(self) -> str:
        return BANK[self.language][0].rstrip(".。")

    def _word(self) -> str:
        return "大" if self.language in WIDE else "it"

    def _blocks(self, number: int) -> list[str]:
        """What is to be said in so many blocks, as even as may be, none of them blank."""
        blocks = self._sentences(number)
        return [self.space.join(block) or f"{self._short()[:7]}" for block in blocks]

    def _sentences(self, blocks: int) -> list[list[str]]:
        bank = BANK[self.language]
        sentences = [*self._asked_for(), *(bank[place % len(bank)] for place in range(self.number))]
        return [sentences[block::blocks] for block in range(blocks)]

    def _asked_for(self) -> list[str]:
        """Words and marks that the instructions ask for, in one sentence; none if there are none."""
        asked, parts = self.asked, []
        parts += asked.get("keywords", {}).get("words", [])
        for kind, what in (("keyword_count", "word"), ("letter_count", "letter")):
            parts += [asked[kind][what]] * asked[kind].get("at_least", 0) if kind in asked else []
        parts += ["GOOD"] * asked.get("capital_words", {}).get("at_least", 0)
        parts += ["[…]"] * asked.get("placeholders", {}).get("at_least", 0)
        parts += ["3"] if "arabic_numerals" in asked else []
        parts += [f"**{self._short()}**"] * asked.get("highlights", {}).get("at_least", 0)
        return [" ".join(parts) + ("。" if self.language in WIDE else ".")] if parts else []

    def _begun_and_ended(self, text: str) -> str:
        for kind, argument in (("repeat_prompt", "text"), ("starts_with", "phrase")):
            if kind in self.asked:
                text = f"{self.asked[kind][argument]} {text}"
        if "title" in self.asked:
            text = f"<<{self._short()}>>\n{text}"
        if "postscript" in self.asked:
            text += f"\n{self.asked['postscript']['marker']} {self._short()}"
        return f"{text} {self.asked['ends_with']['phrase']}" if "ends_with" in self.asked else text

    def _wrapped(self, text: str) -> str:
        if "line_prefix" in self.asked:
            text = "\n".join(f"{self.asked['line_prefix']['prefix']} {line}" for line in text.split("\n"))
        text = f'"{text}"' if "quoted" in self.asked else text
        return f"“{text}”" if "chinese_quoted" in self.asked else text

    def _spelled(self, text: str) -> str:
        if "no_punctuation" in self.asked:
            text = "".join(letter for letter in text if not unicodedata.category(letter).startswith("P"))
        return text.upper() if "capitals" in self.asked else text.lower() if "lowercase" in self.asked else text
