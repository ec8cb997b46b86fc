"""What is asked: which columns may hold it, and how they are joined to a conversation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rlguide.catalog.columns import plain, vocabulary
from rlguide.data.example import GPT, HUMAN, BadRow, Example, Turn, turns
from rlguide.data.formats.base import AND, Record, refuse_media
from rlguide.data.formats.cells import (
    TEXTS,
    conversation,
    exchanges,
    is_conversation,
    is_empty,
    is_nothing,
    is_word,
    response,
    text,
)
from rlguide.data.formats.table import Table

NO_CHANCE = 20  # characters that stand in two columns of a row for a reason
OTHER_PROMPT = "the prompt is not the one in chosen and rejected"
_PROMPTS = (*TEXTS, "exchanges", "number")


@dataclass(frozen=True)
class Asked:
    """The columns of a prompt. `context` stands above it, `input` below it, `history` is earlier turns."""

    prompt: str | None = None
    input: str | None = None
    history: str | None = None
    context: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    media: tuple[str, ...] = ()

    def used(self, prompt_as: str = "prompt") -> dict[str, str]:
        """The columns by what they hold; `prompt_as` says so of that of the prompt."""
        single = {prompt_as: self.prompt, "input": self.input, "history": self.history}
        found = {role: column for role, column in single.items() if column is not None}
        several = {"context": self.context, "system": self.systems}
        return found | {role: AND.join(columns) for role, columns in several.items() if columns}

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

    def pair(self, row: Record, chosen: str, rejected: str) -> Example:
        """A pair of the responses in these two columns, whole conversations or not. Raises BadRow."""
        better, worse = row.get(chosen), row.get(rejected)
        if self.prompt is not None and type(asked := row.get(self.prompt)) is list and is_side(asked):
            better, worse = _interleaved(asked, better), _interleaved(asked, worse)
        whole = is_conversation(better), is_conversation(worse)
        if not any(whole):
            return self.assemble(row, self.turns(row), response(better, chosen), response(worse, rejected))
        if not all(whole):
            for column, value in ((chosen, better), (rejected, worse)):
                if is_empty(value):
                    raise BadRow(f"{column} is missing")
        found = self._parted(row, conversation(better), conversation(worse))
        if self.prompt is not None and not has_prompt(row.get(self.prompt), found):
            raise BadRow(OTHER_PROMPT)
        return found

    def assemble(self, row: Record, messages: tuple[Turn, ...], chosen: str, rejected: str) -> Example:
        """A pair from its parts, without scores. Raises BadRow for tools and media."""
        messages, system = self.split(row, messages)
        return Example.pair(messages, chosen, rejected, system)

    def split(self, row: Record, messages: tuple[Turn, ...]) -> tuple[tuple[Turn, ...], str]:
        """Turns without a system turn at their start, and the system prompt. Raises BadRow for two that differ."""
        if self.media:
            refuse_media(row, self.media)
        given = self.system(row) if self.systems else ""
        if messages and messages[0].role == "system":
            own = messages[0].value
            if given and own.strip() and own.split() != given.split():  # the engine would drop one without a word
                raise BadRow("the system prompt is not the system message of the conversation (take one of them out)")
            return messages[1:], own or given
        return messages, given

    def _parted(self, row: Record, chosen: tuple[Turn, ...], rejected: tuple[Turn, ...]) -> Example:
        """A pair of two whole conversations that are the same up to the last message."""
        if len(chosen) < 2 or len(rejected) < 2:
            raise BadRow("chosen or rejected is not a complete conversation")
        asked, better, worse = chosen[:-1], chosen[-1], rejected[-1]
        if asked != rejected[:-1]:
            raise BadRow("chosen and rejected differ before their last message")
        if better.role != GPT or worse.role != GPT:
            raise BadRow("chosen or rejected does not end with the assistant")
        return self.assemble(row, asked, better.value, worse.value)

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
    always, context = (
        nothing_asked(table),
        tuple(column.name for column in table.columns.values() if table.is_given(column, "context")),
    )
    given = [column.name for column in table.columns.values() if table.is_given(column, "prompt")]
    prompts = given or _prompts(table, "prompt", "conversation")
    for role in ("input", "context", "history"):  # where there is no better one: HelpSteer3, SHP
        prompts = prompts or _prompts(table, role)
    for prompt in dict.fromkeys(prompts):
        inputs = [column.name for column in table.find("input", ("text", "digits", "number")) if column.name != prompt]
        earlier = [
            column.name
            for column in table.find("history")
            if column.name != prompt and column.kind not in ("text", "digits")
        ]
        below, history = (found[0] if found else None for found in (inputs, earlier))
        yield replace(always, prompt=prompt, input=below, history=history, context=context)


def nothing_asked(table: Table) -> Asked:
    """No prompt column, and what else belongs to a prompt."""
    systems = tuple(column.name for column in table.find("system"))
    return Asked(systems=systems, media=tuple(name for name in table.all if table.is_media(name)))


def _prompts(table: Table, *roles: str) -> list[str]:
    found = [(role, column) for role in roles for column in table.find(role, _PROMPTS)]
    return [
        column.name
        for role, column in found
        if not table.is_given(column, "context")
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


def has_prompt(prompt: object, pair: Example) -> bool:
    """Whether a prompt given apart is what the conversations ask: all of it, or its first or last message."""
    if isinstance(prompt, str):
        asked = (pair.messages[0].value, pair.messages[-1].value) if pair.messages else ()
        return prompt in asked or prompt.strip() in [value.strip() for value in asked]
    if prompt is None:
        raise BadRow("prompt is missing")
    if isinstance(prompt, list) and is_side(prompt):
        return prompt == [turn.value for turn in pair.messages[::2]]
    given = turns(prompt) if isinstance(prompt, list) else conversation(prompt)
    return given == pair.messages or given == (Turn("system", pair.system), *pair.messages)


def is_side(value: list[object]) -> bool:
    """Whether a list holds the turns of one speaker, as text."""
    return len(value) > 1 and isinstance(value[0], str)


def _interleaved(asked: list[str], responses: object) -> tuple[Turn, ...]:
    if not isinstance(responses, list) or len(responses) != len(asked):
        raise BadRow("there are not as many responses as prompts")
    if not all(isinstance(one, str) for one in (*asked, *responses)):
        raise BadRow("a turn is not text")
    return tuple(
        turn for pair in zip(asked, responses, strict=True) for turn in (Turn(HUMAN, pair[0]), Turn(GPT, pair[1]))
    )


def _joined(above: str, messages: tuple[Turn, ...]) -> tuple[Turn, ...]:
    if not messages or messages[-1].role != HUMAN:
        raise BadRow("there is no prompt for the context to stand above")
    return (*messages[:-1], Turn(HUMAN, f"{above}\n\n{messages[-1].value}"))
