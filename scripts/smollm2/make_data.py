"""Write the data of reproduce_smollm2.sh beside this file: sft.jsonl, pairs.jsonl, control.jsonl.

    python scripts/smollm2/make_data.py WORKSPACE MODEL

MODEL is the folder of SmolLM2-135M-Instruct in WORKSPACE, which answers every prompt greedily.

- sft.jsonl: plain requests with the model's own answers, so that the SFT parent is about the model itself.
- pairs.jsonl: requests with one or two instructions. The rejected response is the model's own answer to the request
  alone, shortened to a few sentences; the chosen one is the same text, edited by rule until it follows the
  instructions. rlguide's verifiers confirm both. So the two differ in obedience and in little else.
- unseen_kinds.jsonl: those of the bundled prompts all of whose instructions are of kinds that no pair is about.
- control.jsonl: plain questions, and the word that an answer must hold, for `rlguide eval --prompts`.
"""

from __future__ import annotations

import json
import random
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from rlguide.catalog.benchmarks import BUNDLED_INSTRUCTIONS
from rlguide.engine.find import find_engine
from rlguide.evaluation.instructions.check import check
from rlguide.evaluation.instructions.prompts import Instruction, InstructionPrompt
from rlguide.inference.loaded import LoadedPolicy
from rlguide.inference.store import stored_responses
from rlguide.policy.policy import Policy
from rlguide.workspace import Workspace

HERE = Path(__file__).parent
WORDS: dict[str, Any] = yaml.safe_load((HERE / "words.yaml").read_text(encoding="utf-8"))
SEED = 20261126
ALONE, TOGETHER = 13, 7  # prompts of each kind alone, and of each two that go together
REQUESTS = 240  # that are answered
TOKENS = 72  # of a response
MOST_WORDS = 45  # of a response, unless more are asked for
COMMON = ("people", "world", "water", "small", "nature", "life", "time", "home")
GAPS = ("Ask [name] for more.", "It was seen in [place] on [date].", "Call [number] and ask for [person].",
        "Meet us at [place] at [time].")  # fmt: skip


def main() -> None:
    """Ask the model and write the files."""
    ws, model = Workspace(Path(sys.argv[1])), sys.argv[2]

    def ask(prompts: list[str]) -> list[str]:
        policy = Policy(model, (), "smollm2")
        conversations = [[{"role": "user", "content": prompt}] for prompt in prompts]
        loaded = LoadedPolicy(ws, find_engine(None), policy, policy.model_config())
        return [response.text for response in stored_responses(loaded, conversations, TOKENS)]

    write("control.jsonl", list(control()))
    plain = plain_prompts()
    said = [" ".join(cut(sentences(text))) for text in ask(plain)]
    rows = [{"prompt": prompt, "response": text} for prompt, text in zip(plain, said, strict=True)]
    write("sft.jsonl", [row for row in rows if row["response"]])
    write("unseen_kinds.jsonl", list(unseen()))
    prompts = list(instructed())
    requests = list(dict.fromkeys(request for request, _ in prompts))
    texts = dict(zip(requests, ask(requests), strict=True))
    pairs = [pair for request, prompt in prompts if (pair := pair_of(prompt, texts[request]))]
    write("pairs.jsonl", pairs)


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Write JSON lines and say how many."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (HERE / name).write_text(text, encoding="utf-8", newline="\n")
    print(f"{name}: {len(rows)} rows")


def control() -> Iterator[dict[str, Any]]:
    """Plain questions as prompts with an instruction: the answer holds a word, or one of several."""
    for number, (question, answer) in enumerate(WORDS["control"].items(), start=1):
        ways = [way for word in answer.split("|") for way in dict.fromkeys((word, word.capitalize()))]
        kind = ("options", {"options": ways}) if "|" in answer else ("keywords", {"words": [answer]})
        instructions = [{"kind": kind[0], "arguments": kind[1]}]
        yield {"id": f"control-{number:03}", "language": "en", "prompt": question, "instructions": instructions}


def plain_prompts() -> list[str]:
    """Requests without instructions."""
    return [request.format(x=topic) for topic in WORDS["plain_topics"] for request in WORDS["plain_requests"]]


def unseen() -> Iterator[dict[str, Any]]:
    """The bundled English prompts about kinds of instructions that the pairs leave out."""
    for line in BUNDLED_INSTRUCTIONS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        kinds = {item["kind"] for item in row["instructions"]}
        if row["language"] == "en" and not kinds & set(WORDS["instructions"]):
            yield row


def instructed() -> Iterator[tuple[str, InstructionPrompt]]:
    """Requests, and the same with one or two instructions."""
    rng = random.Random(SEED)
    requests = [(topic, request.format(x=topic)) for topic in WORDS["topics"] for request in WORDS["requests"]]
    rng.shuffle(requests)
    wanted = [[kind] for kind in WORDS["instructions"] for _ in range(ALONE)]
    wanted += [list(kinds) for kinds in WORDS["together"] for _ in range(TOGETHER)]
    rng.shuffle(wanted)
    for number, kinds in enumerate(wanted):
        topic, request = requests[number % REQUESTS]
        text, found = request, []
        for kind in kinds:
            entry = rng.choice(WORDS["instructions"][kind])
            arguments = dict(rng.choice(entry["with"]))
            if kind == "keywords":
                arguments["words"] = rng.sample(COMMON, arguments["words"])
            if kind == "repeat_prompt":
                arguments["text"] = request
            said = {key: " and ".join(value) if isinstance(value, list) else value for key, value in arguments.items()}
            text += " " + entry["say"].format(**said)
            found.append(Instruction(kind, arguments))
        yield request, InstructionPrompt(topic, "en", text, tuple(found))


def pair_of(prompt: InstructionPrompt, raw: str) -> dict[str, str] | None:
    """A pair decided by the instructions alone; None if the answer follows them as it is or cannot be edited."""
    asked = {item.kind: item.arguments for item in prompt.instructions}
    own = sentences(raw)
    least = asked.get("words", {}).get("at_least", 0)
    kept = cut(own, max(MOST_WORDS, least + 30))
    rejected = " ".join(kept)
    if least:
        rejected = " ".join(cut(own, least - 10))
    if "keywords" in asked:
        words = asked["keywords"]["words"]
        rejected = " ".join(cut([text for text in own if not any(word in text.lower() for word in words)]))
    chosen = edited(prompt, kept, asked)
    is_right = chosen and all(check(prompt, chosen).strict)
    if not is_right or not rejected or all(check(prompt, rejected).strict):
        return None
    return {"prompt": prompt.prompt, "chosen": chosen, "rejected": rejected}


def sentences(text: str) -> list[str]:
    """The whole sentences of an answer, without marks of lists and headings."""
    lines = [re.sub(r"^\s*(?:[-*#>]+|\d+[.)])\s*", "", line).replace("*", "") for line in text.split("\n")]
    found = [part.strip() for line in lines for part in re.split(r"(?<=[.!?])\s+", line)]
    return [part for part in found if re.search(r"\w.*[.!?]$", part)]


def cut(found: list[str], most: int = MOST_WORDS) -> list[str]:
    """The first sentences, of at most so many words; one at least."""
    kept: list[str] = []
    for sentence in found:
        if kept and len(" ".join([*kept, sentence]).split()) > most:
            break
        kept.append(sentence)
    return kept


def edited(prompt: InstructionPrompt, kept: list[str], asked: dict[str, Any]) -> str:
    """The sentences, made to follow the instructions."""
    if not kept:
        return ""
    limits = asked.get("sentences", {})
    kept = kept[: limits.get("at_most", len(kept))]
    if "words" in asked and "at_most" in asked["words"]:
        kept = cut([" ".join(kept[0].split()[: asked["words"]["at_most"] - 6]).rstrip(".,;:") + ".", *kept[1:]],
                   asked["words"]["at_most"] - 6)  # fmt: skip
    text = shaped(kept, asked)
    for kind, edit in EDITS.items():
        if kind in asked:
            text = edit(text, asked[kind], prompt)
    return text


def shaped(kept: list[str], asked: dict[str, Any]) -> str:
    """The sentences as lines, paragraphs or a list."""
    for kind in ("bullets", "numbered", "paragraphs"):
        if kind in asked:
            number = asked[kind]["at_most"]
            parts = pieces(kept, number)
            if len(parts) < number:
                return ""
            if kind == "paragraphs":
                return "\n\n".join(parts)
            return "\n".join(
                f"{place}. {part}" if kind == "numbered" else f"- {part}" for place, part in enumerate(parts, 1)
            )
    if "two_responses" in asked:
        parts = pieces(kept, 2)
        return "\n******\n".join(parts) if len(parts) == 2 else ""
    if "line_prefix" in asked:
        return "\n".join(f"{asked['line_prefix']['prefix']} {sentence}" for sentence in kept)
    return " ".join(kept)


def pieces(kept: list[str], number: int) -> list[str]:
    """The sentences in so many parts; split at commas where there are too few of them."""
    if len(kept) < number:
        kept = [
            part[0].upper() + part[1:].rstrip(".") + "." for sentence in kept for part in sentence.split(", ") if part
        ]
    size = -(-len(kept) // number)
    even = [kept[start : start + size] for start in range(0, len(kept), size)]
    parts = even if len(even) == number else [[one] for one in kept[:number]]
    return [" ".join(part) for part in parts]


def _highlighted(text: str, arguments: dict[str, Any], prompt: InstructionPrompt) -> str:
    mark = "**" if "**" in prompt.prompt else "*"
    words = list(dict.fromkeys(re.findall(r"\b[a-z]{5,}\b", text)))[: arguments["at_least"]]
    for word in words:
        text = re.sub(rf"\b{word}\b", f"{mark}{word}{mark}", text, count=1)
    return text


def _with_gaps(text: str, arguments: dict[str, Any], prompt: InstructionPrompt) -> str:
    start = len(prompt.prompt) % len(GAPS)
    for gap in (GAPS[start:] + GAPS[:start])[: arguments["at_least"]]:
        text += " " + gap
    return text


def _without_marks(text: str, arguments: dict[str, Any], prompt: InstructionPrompt) -> str:
    return "".join(letter for letter in text if not unicodedata.category(letter).startswith("P"))


def _json(text: str, arguments: dict[str, Any], prompt: InstructionPrompt) -> str:
    return json.dumps({"topic": prompt.id, "text": text} if len(text) % 2 else {"answer": text}, ensure_ascii=False)


def _postscript(text: str, arguments: dict[str, Any], prompt: InstructionPrompt) -> str:
    return f"{text}\n\n{arguments['marker']} There is more to say about {prompt.id}."


# In the order in which they are made, so that what wraps a text comes after what changes it.
EDITS: dict[str, Callable[[str, dict[str, Any], InstructionPrompt], str]] = {
    "highlights": _highlighted,
    "placeholders": _with_gaps,
    "no_commas": lambda text, arguments, prompt: text.replace(",", ""),
    "starts_with": lambda text, arguments, prompt: f"{arguments['phrase']} {text}",
    "repeat_prompt": lambda text, arguments, prompt: f"{arguments['text']}\n\n{text}",
    "title": lambda text, arguments, prompt: f"<<{prompt.id.title()}>>\n\n{text}",
    "postscript": _postscript,
    "ends_with": lambda text, arguments, prompt: f"{text} {arguments['phrase']}",
    "json": _json,
    "quoted": lambda text, arguments, prompt: '"' + text.replace('"', "'") + '"',
    "no_punctuation": _without_marks,
    "lowercase": lambda text, arguments, prompt: text.lower(),
    "capitals": lambda text, arguments, prompt: text.upper(),
}


if __name__ == "__main__":
    main()
