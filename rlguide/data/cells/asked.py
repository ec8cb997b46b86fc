"""What is asked: which columns may hold it, and how they are joined to a conversation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rlguide.catalog.columns import plain, vocabulary
from rlguide.data.cells.table import Table
from rlguide.data.cells.values import TEXTS, Record, conversation, exchanges, is_empty, is_nothing, is_word, text
from rlguide.data.example import GPT, HUMAN, BadRow, Turn

NO_CHANCE = 20  # characters that stand in two columns of a row for a reason
_PROMPTS = (*TEXTS, "exchanges", "number")  # kinds of cells that may be a prompt
_TEXTS = ("text", "digits", "number")  # and those that stand below one


@dataclass(frozen=True)
class Asked:
    """The columns of a prompt. `context` stands above it, `input` below it, `history` is earlier turns."""

    prompt: str | None = None
    input: str | None = None
    history: str | None = None
    context: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    media: tuple[str, ...] = ()

    def used(self, prompt_as: str = "prompt") -> dict[str, tuple[str, ...]]:
        """The columns by what they hold; `prompt_as` says so of that of the prompt."""
        single = {prompt_as: self.prompt, "input": self.input, "history": self.history}
        found: dict[str, tuple[str, ...]] = {role: (column,) for role, column in single.items() if column is not None}
        several = {"context": self.context, "system": self.systems}
        return found | {role: columns for role, columns in several.items() if columns}

    def turns(self, row: Record) -> tuple[Turn, ...]:
        """The prompt of a row. Raises BadRow for a row without one, or whose parts cannot be joined."""
        given = None if self.prompt is None else row.get(self.prompt)
        if is_empty(given) and given != "" and given != []:
            raise BadRow("prompt is missing")
        messages = conversation(given)
        for column in self.context:
            if not is_nothing(row.get(column)):
                messages = _joined(text(row[column], column), messages)
        if self.input is not None and not is_nothing(more := row.get(self.input)):
            messages = self._with_input(messages, text(more, self.input), not isinstance(given, list | dict))
        if self.history is not None and not is_nothing(row.get(self.history)):
            messages = (*exchanges(row[self.history]), *messages)
        return messages

    def system(self, row: Record) -> str:
        """The system prompt, under whichever of its names. Raises BadRow for two that differ."""
        given = [text(row[column], column) for column in self.systems if not is_nothing(row.get(column))]
        if any(one.split() != given[0].split() for one in given):
            raise BadRow("two columns hold different system prompts (take one of them out)")
        return given[0] if given else ""

    def parted(self, row: Record) -> tuple[tuple[Turn, ...], str]:
        """The turns of a conversation that ends with a response, and this. Raises BadRow."""
        messages = self.turns(row)
        if not messages or messages[-1].role != GPT:
            raise BadRow("the messages do not end with the assistant")
        return messages[:-1], messages[-1].value

    def split(self, row: Record, messages: tuple[Turn, ...]) -> tuple[tuple[Turn, ...], str]:
        """Turns without a system turn at their start, and the system prompt. Raises BadRow for two that differ."""
        if self.media and not all(is_nothing(row.get(column)) for column in self.media):
            # They would be dropped without a word.
            raise BadRow("uses tools or media, which this version does not carry")
        given = self.system(row) if self.systems else ""
        if messages and messages[0].role == "system":
            own = messages[0].value
            if given and own.strip() and own.split() != given.split():  # the engine would drop one without a word
                raise BadRow("the system prompt is not the system message of the conversation (take one of them out)")
            return messages[1:], own or given
        return messages, given

    @staticmethod
    def _with_input(messages: tuple[Turn, ...], more: str, is_text: bool) -> tuple[Turn, ...]:
        """The prompt with the input below it; one that it has already, as a template does, is not repeated."""
        if is_text:
            prompt = messages[-1].value if messages else ""
            if has_already(prompt, more.strip()):
                return messages
            return (*messages[:-1], Turn(HUMAN, "\n".join(filter(None, (prompt, more)))))
        if not any(more.strip() in message.value for message in messages):
            raise BadRow("input stands beside a prompt of messages (join the two, or take it out)")
        return messages


def possible_prompts(table: Table) -> Iterator[Asked]:
    """Every column that may be the prompt, the likeliest first, with what goes with it."""
    always = replace(nothing_asked(table), context=table.given_as("context"))
    prompts = [*table.given_as("prompt")] or _prompts(table, "prompt", "conversation")
    for role in ("input", "context", "history"):  # where there is no better one: HelpSteer3, SHP
        prompts = prompts or _prompts(table, role)
    for prompt in dict.fromkeys(prompts):
        inputs = [column.name for column in table.find("input", _TEXTS) if column.name != prompt]
        turns = [one.name for one in table.find("history") if one.name != prompt and one.kind not in _TEXTS]
        below, history = (found[0] if found else None for found in (inputs, turns))
        yield replace(always, prompt=prompt, input=below, history=history)


def nothing_asked(table: Table) -> Asked:
    """No prompt column, and what else belongs to a prompt."""
    systems = tuple(column.name for column in table.find("system"))
    return Asked(systems=systems, media=tuple(name for name in table.all if table.is_media(name)))


def _prompts(table: Table, *roles: str) -> list[str]:
    found = [(role, column) for role in roles for column in table.find(role, _PROMPTS)]
    return [
        column.name
        for role, column in found
        if column.name not in table.given_as("context")
        and not (plain(column.name) in vocabulary().not_pieces and all(map(is_word, column.values)))
        and (role != "history" or column.kind in ("text", "digits", "dialogue"))
    ]


def engine_prompt(row: Record) -> tuple[Turn, ...]:
    """history, instruction and input of a row, joined as LLaMA-Factory's alpaca converter does. Raises BadRow."""
    asked = [row.get("instruction"), row.get("input") or ""]
    if not all(isinstance(part, str) for part in asked):
        raise BadRow("instruction or input is not text")
    return (*exchanges(row.get("history") or []), Turn(HUMAN, "\n".join(filter(None, asked))))


def has_already(prompt: str, more: str) -> bool:
    """Whether a prompt has this text in it: a short one as a line of its own, for "5" is in many by chance."""
    return f"\n{more}\n" in f"\n{prompt}\n" or (len(more) >= NO_CHANCE and more in prompt)


def _joined(above: str, messages: tuple[Turn, ...]) -> tuple[Turn, ...]:
    if not messages or messages[-1].role != HUMAN:
        raise BadRow("there is no prompt for the context to stand above")
    return (*messages[:-1], Turn(HUMAN, f"{above}\n\n{messages[-1].value}"))
