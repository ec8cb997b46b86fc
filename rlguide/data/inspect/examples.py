"""A row as text, the same for the screen, the page and `--json`."""

from __future__ import annotations

from typing import Any

from rlguide.console import printable
from rlguide.data.example import Example

LONG = 1500  # characters of a response or of the last prompt that are shown
EARLIER = 300  # the same of earlier turns and of the system prompt


def shown_turns(example: Example) -> list[tuple[str, str]]:
    """What comes before the response: role and shortened text, turn by turn."""
    *earlier, (role, last) = example.spoken
    return [*((who, shortened(text, EARLIER)) for who, text in earlier), (role, shortened(last))]


def shown_responses(example: Example) -> list[tuple[str, str]]:
    """The responses: what each one is, and its shortened text."""
    if example.label is not None:
        return [("desirable" if example.label else "undesirable", shortened(example.chosen))]
    if example.kind == "responses":
        return [(f"response, {len(example.chosen):,} characters", shortened(example.chosen))]
    scores = [f", score {score:g}" for score in example.scores] if example.scores is not None else ["", ""]
    names = zip(("chosen", "rejected"), example.responses, scores, strict=True)
    return [(f"{name}, {len(text):,} characters{score}", shortened(text)) for name, text, score in names]


def plain(example: Example) -> dict[str, Any]:
    """The whole row for `--json`."""
    row: dict[str, Any] = {
        "messages": [_writable(turn.value) for turn in example.messages],
        "system": _writable(example.system),
    }
    texts = [_writable(text) for text in example.responses]
    if example.label is not None:
        return {**row, "response": texts[0], "desirable": example.label}
    if len(texts) < 2:  # a row for SFT or PPO
        return {**row, "response": texts[0] if texts else None}
    return {**row, "chosen": texts[0], "rejected": texts[1], "scores": example.scores}


def _writable(text: str) -> str:
    """The text with what no file can hold (half a surrogate pair, from JSON that rlguide did not check) replaced."""
    return text.encode("utf-8", "replace").decode()


def shortened(text: str, limit: int = LONG) -> str:
    """The text without control characters, which could move the cursor, and not too long."""
    text = printable(text.replace("\r\n", "\n").replace("\t", "    "), "\ufffd")
    return text if len(text) <= limit else f"{text[:limit]} [... {len(text) - limit:,} more characters]"
