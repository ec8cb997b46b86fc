"""Write the bundled prompts with instructions, rlguide/evaluation/instructions/prompts.jsonl.

They are made of scripts/instruction_prompts.yaml with a fixed seed: a request about a topic, then one to three
instructions that go together. Each kind of instruction is used about equally often.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from rlguide.catalog.benchmarks import BUNDLED_INSTRUCTIONS
from rlguide.catalog.yaml_file import read_yaml

SEED = 20261126
NUMBER = 320  # of each language
MANY = (0.35, 0.4, 0.25)  # the shares of prompts with one, two and three instructions
WORDS = read_yaml(Path(__file__).with_name("instruction_prompts.yaml"))


def main() -> None:
    """Write the file and say how large it is."""
    rows = bundled_rows()
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    BUNDLED_INSTRUCTIONS.write_text(text, encoding="utf-8", newline="\n")
    used = Counter(item["kind"] for row in rows for item in row["instructions"])
    print(f"{len(rows)} prompts, {used.total()} instructions of {len(used)} kinds, {len(text.encode()):,} bytes")


def bundled_rows() -> list[dict[str, Any]]:
    """The rows of the file."""
    return [row for language in ("en", "zh") for row in _Maker(language).rows()]


class _Maker:
    """Makes the prompts of one language; none has the same request about the same topic as another."""

    def __init__(self, language: str) -> None:
        self.language = language
        self.rng = random.Random(f"instructions {SEED} {language}")
        self.used: Counter[str] = Counter(dict.fromkeys(WORDS["instructions"][language], 0))
        categories = WORDS["categories"][language]
        self.requests = {
            name: [request.format(x=topic) for topic in item["topics"] for request in item["requests"]]
            for name, item in categories.items()
        }
        for requests in self.requests.values():
            self.rng.shuffle(requests)

    def rows(self) -> list[dict[str, Any]]:
        made = [self._row() for _ in range(NUMBER)]
        self.rng.shuffle(made)
        return [
            {"id": f"{self.language}-{number:03}", "language": self.language, **row}
            for number, row in enumerate(made, start=1)
        ]

    def _row(self) -> dict[str, Any]:
        kinds = [self._rarest([kind for kind in self.used if self._categories(kind)])]
        left = {name: len(self.requests[name]) for name in self._categories(kinds[0])}
        category = self.rng.choices(list(left), list(left.values()))[0]
        for _ in range(self.rng.choices(range(3), MANY)[0]):
            others = [kind for kind in self.used if fits(kind, category) and all(together(kind, k) for k in kinds)]
            kinds += [self._rarest(others)] if others else []
        kinds.sort(key=lambda kind: kind != "repeat_prompt")  # which speaks of the prompt "up to this point"
        self.used.update(kinds)
        request = self.requests[category].pop()
        said = [self._instruction(kind, category, request) for kind in kinds]
        between = "" if self.language == "zh" else " "
        prompt = between.join([request, *(text for text, _ in said)])
        return {"prompt": prompt, "instructions": [instruction for _, instruction in said]}

    def _categories(self, kind: str) -> list[str]:
        """Those that the kind goes with and that have requests left."""
        return [name for name, left in self.requests.items() if left and fits(kind, name)]

    def _rarest(self, kinds: list[str]) -> str:
        """One of the kinds that were used least."""
        least = min(self.used[kind] for kind in kinds)
        return self.rng.choice([kind for kind in kinds if self.used[kind] <= least + 2])

    def _instruction(self, kind: str, category: str, request: str) -> tuple[str, dict[str, Any]]:
        """How it is said, and the instruction."""
        wording = self.rng.choice(WORDS["instructions"][self.language][kind])
        arguments = dict(self.rng.choice(wording["with"]))
        keywords = WORDS["categories"][self.language][category]["keywords"]
        keywords = [word for word in keywords if word not in request]
        if "words" in arguments:
            arguments["words"] = sorted(self.rng.sample(keywords, arguments["words"]))
        elif arguments.get("word") == 1:
            arguments["word"] = self.rng.choice(keywords)
        if kind == "repeat_prompt":
            arguments["text"] = request
        said = {name: self._listed(name, value) for name, value in arguments.items()}
        return wording["say"].format(**said), {"kind": kind, "arguments": arguments}

    def _listed(self, name: str, value: Any) -> Any:
        """Several texts as quoted items with the language's commas, and "and" or "or" before the last."""
        if not isinstance(value, list):
            return value
        choice = name == "options"
        if self.language == "en":
            opens, closes, comma, last = '"', '"', ", ", " or " if choice else " and "
        else:
            opens, closes, comma, last = "“", "”", "、", "或" if choice else "和"
        quoted = [f"{opens}{item}{closes}" for item in value]
        return comma.join(quoted[:-1]) + last + quoted[-1]


def fits(kind: str, category: str) -> bool:
    """Whether an instruction of this kind goes with requests of this category."""
    return category in WORDS["only"].get(kind, [category]) and kind not in WORDS["without"].get(category, [])


def together(one: str, other: str) -> bool:
    """Whether instructions of these kinds can be followed at once, and make sense in one prompt."""
    if one == other or any(one in group and other in group for group in WORDS["groups"]):
        return False
    for a, b in ((one, other), (other, one)):
        if b in WORDS["conflicts"].get(a, []) or b not in WORDS["only_with"].get(a, [b]):
            return False
    return True


if __name__ == "__main__":
    main()
