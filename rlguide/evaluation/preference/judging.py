"""A model as judge of two others: each pair in both orders, so that the place of a response decides nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from rlguide.conversation import Message, Response
from rlguide.evaluation.comparison.record import Compared
from rlguide.evaluation.preference.judge_prompt import JudgePrompt, Verdict, asked_again, verdict_in
from rlguide.evaluation.preference.outcome import Judged, Outcome
from rlguide.inference.model import Model
from rlguide.inference.store import known_responses, stored_responses

MANY_CALLS = 500  # more are only made when that is confirmed
_SWAPPED: dict[Verdict | None, Verdict | None] = {"first": "second", "second": "first", "tie": "tie", None: None}
_TIED: list[Verdict | None] = ["tie", "tie"]  # of equal responses


@dataclass(frozen=True)
class Judging:
    """A model against another one, to be judged.

    Attributes:
        model, other: their short names in the records; a win is one of `model`.
        judge: not entered yet.
        longest: reply, in tokens.
    """

    records: Sequence[Compared]
    model: str
    other: str
    judge: Model
    prompt: JudgePrompt
    longest: int

    @cached_property
    def questions(self) -> list[tuple[int, list[Message]]]:
        """What the judge is asked, with the place of the record: twice for each pair whose responses differ."""
        found = []
        for place, record in enumerate(self.records):
            one, two = (record.responses[name].text for name in (self.model, self.other))
            if one != two:
                found.append((place, self.prompt.messages(record.prompt, one, two)))
                found.append((place, self.prompt.messages(record.prompt, two, one)))
        return found

    @cached_property
    def _stored(self) -> list[Response | None]:
        return known_responses(self.judge, [messages for _, messages in self.questions], self.longest)

    @cached_property
    def missing(self) -> list[list[Message]]:
        """What the judge has to be asked now, each only once: the questions without a stored reply, and once more those
        whose stored reply is no verdict."""
        replies = list(zip(self.questions, self._stored, strict=True))
        found = [messages for (_, messages), reply in replies if reply is None]
        unread = [
            asked_again(messages, reply.text)
            for (_, messages), reply in replies
            if reply and not verdict_in(reply.text)
        ]
        again = known_responses(self.judge, unread, self.longest)
        found += [messages for messages, reply in zip(unread, again, strict=True) if reply is None]
        return list({json.dumps(messages): messages for messages in found}.values())

    def plan(self) -> str:
        """What it will take, in a sentence; what so many prompts can show a comparison has said before."""
        calls, stored = len(self.missing), sum(reply is not None for reply in self._stored)
        tokens = sum(tokens_about(message["content"]) for messages in self.missing for message in messages)
        said = f"{calls:,} calls of the judge" + (f" ({stored:,} more are stored)" if stored else "")
        said += f", about {tokens:,} tokens of input and {calls:,} to {calls * self.longest:,} of output"
        if stored < len(self.questions):
            said += "; one more call for each reply that is no verdict"
        if calls and "endpoint" in self.judge.identity():
            said += "; what that costs is those tokens times the prices of the endpoint"
        return said

    def run(self) -> Outcome:
        """Ask the judge; what it replied before it is not asked again, and an interruption loses none.

        Raises:
            EngineError: the judge failed.
        """
        conversations = [messages for _, messages in self.questions]
        replies = [item.text for item in stored_responses(self.judge, conversations, self.longest, "judging")]
        verdicts = [verdict_in(text) for text in replies]
        unread = [at for at, verdict in enumerate(verdicts) if verdict is None]
        once_more = [asked_again(conversations[at], replies[at]) for at in unread]
        again = stored_responses(self.judge, once_more, self.longest, "asking again") if once_more else []
        for at, reply in zip(unread, again, strict=True):
            verdicts[at] = verdict_in(reply.text)
        return Outcome(self.model, self.other, self.judge.title, self._judged(verdicts), len(unread))

    def _judged(self, verdicts: Sequence[Verdict | None]) -> list[Judged]:
        """Verdicts in terms of the models: "first" is `model`, whichever stood first."""
        orders: dict[int, list[Verdict | None]] = {}
        for number, ((place, _), verdict) in enumerate(zip(self.questions, verdicts, strict=True)):
            orders.setdefault(place, []).append(_SWAPPED[verdict] if number % 2 else verdict)
        found = []
        for place, record in enumerate(self.records):
            lengths = (len(record.responses[self.model].text), len(record.responses[self.other].text))
            there, back = orders.get(place) or _TIED
            found.append(Judged(record.key(self.model, self.other), there, back, lengths, place not in orders))
        return found


def tokens_about(text: str) -> int:
    """About how many tokens a text has: one for four characters, and one for each that is not ASCII."""
    others = sum(not char.isascii() for char in text)
    return (len(text) - others + 3) // 4 + others
