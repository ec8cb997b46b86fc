"""Prompts with an instruction that a program can check, in English and Chinese, with responses that follow it or not.

A prompt asks for things of two topics ("Name some fruits and tools.") and says how ("Answer as a JSON list.").
`follows` decides whether a response follows the instruction; it sees these two only, and does not know how responses
are made here. Combinations of two topics are divided once and for all: a held-out prompt is about two topics that
never occur together in anything a model is trained on.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rlguide.catalog.yaml_file import read_yaml

Language = Literal["en", "zh"]

_WORDS = read_yaml(Path(__file__).with_name("words.yaml"))
TOPICS: dict[Language, dict[str, list[str]]] = _WORDS["topics"]
REQUESTS: dict[Language, list[str]] = _WORDS["requests"]
INSTRUCTIONS: dict[Language, dict[str, list[str]]] = _WORDS["instructions"]
NUMBERS: dict[Language, dict[str, int]] = _WORDS["numbers"]
OPENINGS: dict[Language, list[str]] = _WORDS["openings"]
USUAL = 3  # things in a response where the instruction gives no number
PLAIN = "plain"  # the style of a response that ignores every instruction


@dataclass(frozen=True)
class Task:
    """One request with one instruction. `argument` is the number word or the opening word, else ""."""

    language: Language
    kind: str
    argument: str
    topics: tuple[str, str]
    prompt: str


@dataclass(frozen=True)
class Pair:
    """A task, a response that follows its instruction and one that does not."""

    task: Task
    chosen: str
    rejected: str


# --- Verifiers: the response and the instruction, nothing else -----------------------------------------------


def follows(language: Language, kind: str, argument: str, response: str) -> bool:
    """Whether `response` does what an instruction of this kind and argument asks.

    Raises KeyError for a kind that does not exist in the language.
    """
    if kind not in INSTRUCTIONS[language]:
        raise KeyError(f"no instruction {kind!r} in language {language!r}")
    text = response.strip()
    lines = text.split("\n")
    match kind:
        case "capitals":
            return sum(letter.isupper() for letter in text) >= 3 and text == text.upper()
        case "count":
            named = named_things(language, text)
            return len(named) == len(set(named)) == NUMBERS[language][argument]
        case "json":
            return _is_json_list(text)
        case "sentence":
            return len(lines) == 1 and re.fullmatch(r"[^.!?。！？]{4,}[.!?。！？]", text) is not None
        case "numbered":
            return len(lines) >= 2 and all(
                re.fullmatch(rf"{number}[.)、] ?[^\s\d.)、].*", line) for number, line in enumerate(lines, start=1)
            )
        case "bullets":
            return len(lines) >= 2 and all(re.fullmatch(r"[-*•] ?[^\s\-*•].*", line) for line in lines)
        case "brackets":
            return re.fullmatch(r"(【[^【】\s]+】[、，]?){2,}。?", text) is not None
        case _:  # start
            rest = text.removeprefix(argument)
            return text.startswith(argument) and len(rest) >= 2 and not (language == "en" and rest[0].isalnum())


def _is_json_list(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    return isinstance(value, list) and len(value) >= 2 and all(isinstance(item, str) and item.strip() for item in value)


def named_things(language: Language, response: str) -> list[str]:
    """The things of any topic's list that the response names, in order, with repetitions (English: lower case)."""
    things = sorted(itertools.chain(*TOPICS[language].values()), key=len, reverse=True)
    if language == "en":
        return re.findall(rf"\b({'|'.join(things)})s?\b", response.lower())
    return re.findall("|".join(things), response)


def on_topic(language: Language, topics: tuple[str, str], response: str) -> bool:
    """Whether the response names at least two things, all of them of the two topics asked about.

    Not an instruction: it shows whether a model still says something sensible while it follows.
    """
    wanted = {thing for topic in topics for thing in TOPICS[language][topic]}
    named = named_things(language, response)
    return len(named) >= 2 and set(named) <= wanted


# --- Responses -------------------------------------------------------------------------------------------------


def write_response(language: Language, style: str, argument: str, things: list[str]) -> str:
    """A response that names `things` in the given style: a kind of instruction, or `PLAIN`."""
    if style == "json":
        return json.dumps(things, ensure_ascii=False)
    if style == "numbered":
        return "\n".join(f"{number}. {thing}" for number, thing in enumerate(things, start=1))
    if style == "bullets":
        return "\n".join(f"- {thing}" for thing in things)
    if style == "brackets":
        return "".join(f"【{thing}】" for thing in things)
    if language == "en":
        sentence = f"I would name {', '.join(things[:-1])} and {things[-1]}."
        plain = f"OK. {sentence}"
        opened = f"{argument}, {sentence}"
    else:
        sentence = f"我会选{'、'.join(things[:-1])}和{things[-1]}。"
        plain = f"行。{sentence}"
        opened = f"{argument}，{sentence}"
    if style == "capitals":
        return sentence.upper()
    return {PLAIN: plain, "start": opened}.get(style, sentence)


def _things(task: Task, number: int, rng: random.Random) -> list[str]:
    """`number` different things: half of the first topic, half of the second, each in the order of its list.

    The order is what lets a very small model learn to name nothing twice.
    """
    first, second = (TOPICS[task.language][topic] for topic in task.topics)
    half = (number + 1) // 2
    chosen = [*rng.sample(range(len(first)), half)], [*rng.sample(range(len(second)), number - half)]
    return [first[place] for place in sorted(chosen[0])] + [second[place] for place in sorted(chosen[1])]


def obeying(task: Task, rng: random.Random) -> str:
    """A response that follows the instruction; it names `USUAL` things unless a number is given."""
    number = NUMBERS[task.language][task.argument] if task.kind == "count" else USUAL
    return write_response(task.language, task.kind, task.argument, _things(task, number, rng))


def disobeying(task: Task, rng: random.Random, plain_share: float) -> str:
    """A response to the request that does not follow the instruction.

    Args:
        plain_share: how often it is a plain response rather than one in another instruction's style, or, where the
            instruction has an argument, one that obeys another argument (two things instead of four).
    """
    style, argument, number = PLAIN, "", USUAL
    if task.kind == "count":
        number = rng.choice([n for n in NUMBERS[task.language].values() if n != NUMBERS[task.language][task.argument]])
    if rng.random() >= plain_share:
        others = [kind for kind in INSTRUCTIONS[task.language] if kind != "count"]
        style = "sentence" if task.kind == "count" else rng.choice(others)
    if style == "start":
        argument = rng.choice([word for word in OPENINGS[task.language] if word != task.argument])
    response = write_response(task.language, style, argument, _things(task, number, rng))
    if follows(task.language, task.kind, task.argument, response):  # the other style happens to follow
        return disobeying(task, rng, plain_share)
    return response


# --- Prompts ---------------------------------------------------------------------------------------------------


def topic_pairs(language: Language, held_out: bool) -> list[tuple[str, str]]:
    """The unordered combinations of two topics that are for training, or those that are held out (one in five)."""
    every = list(itertools.combinations(TOPICS[language], 2))
    random.Random(f"topics {language}").shuffle(every)
    share = len(every) // 5
    return every[:share] if held_out else every[share:]


def make_tasks(seed: int, per_kind: int, held_out: bool = False) -> list[Task]:
    """`per_kind` different tasks of each kind in each language, in a seeded random order.

    For training, kinds with an argument come twice as often: there is more to learn about them.
    """
    rng = random.Random(f"tasks {seed} {held_out}")
    tasks: list[Task] = []
    for language in ("en", "zh"):
        for kind in INSTRUCTIONS[language]:
            number = per_kind * 2 if kind in ("count", "start") and not held_out else per_kind
            tasks.extend(itertools.islice(_endless(language, kind, held_out, rng), number))
    rng.shuffle(tasks)
    return tasks


def _endless(language: Language, kind: str, held_out: bool, rng: random.Random) -> Iterator[Task]:
    """Different tasks of one kind, for as long as there are any."""
    seen: set[str] = set()
    combinations = topic_pairs(language, held_out)
    arguments = {"count": list(NUMBERS[language]), "start": OPENINGS[language]}.get(kind, [""])
    for attempt in itertools.count():
        if attempt > 100_000:
            raise ValueError(f"there are not so many different tasks of the kind {kind}")
        a, b = rng.sample(rng.choice(combinations), 2)
        argument = arguments[attempt % len(arguments)]
        request = rng.choice(REQUESTS[language]).format(a=a, b=b)
        instruction = rng.choice(INSTRUCTIONS[language][kind]).format(x=argument)
        prompt = f"{request} {instruction}" if language == "en" else request + instruction
        if prompt not in seen:
            seen.add(prompt)
            yield Task(language, kind, argument, (a, b), prompt)


# --- The demo's four collections -------------------------------------------------------------------------------

# The share of responses in each collection that follow their instruction. The base model has seen enough to know how;
# the SFT responses are careless, as those of a quickly gathered collection are. DPO has to bring it out.
OBEYING_SHARE = {"base": 0.7, "sft": 0.48}
SEEDS = {"base": 101, "sft": 102, "pairs": 103, "heldout": 104}
PER_KIND = {"base": 330, "sft": 80, "pairs": 36, "heldout": 12}


def examples(collection: str) -> list[tuple[Task, str]]:
    """Tasks with one response each, of which about `OBEYING_SHARE` follow: what "base" and "sft" learn from."""
    rng = random.Random(f"answers {SEEDS[collection]}")
    rows = []
    for task in make_tasks(SEEDS[collection], PER_KIND[collection]):
        obey = rng.random() < OBEYING_SHARE[collection]
        rows.append((task, obeying(task, rng) if obey else disobeying(task, rng, plain_share=0.85)))
    return rows


def pairs(collection: str) -> list[Pair]:
    """Preference pairs of "pairs" or "heldout": chosen follows the instruction, rejected does not."""
    held_out = collection == "heldout"
    rng = random.Random(f"pairs {SEEDS[collection]}")
    rows = []
    for task in make_tasks(SEEDS[collection], PER_KIND[collection], held_out):
        chosen = obeying(task, rng)
        rows.append(Pair(task, chosen, disobeying(task, rng, plain_share=0.5)))
    return rows


def base_corpus() -> list[dict[str, str]]:
    """What the base model learns from: the same kind of text, but not in the chat format that SFT brings."""
    return [{"context": f"user\n{task.prompt}\nassistant\n", "text": response} for task, response in examples("base")]
