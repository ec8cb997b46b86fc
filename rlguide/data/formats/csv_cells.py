"""What a cell of a CSV file means: some columns hold lists or messages, written as JSON text."""

from __future__ import annotations

import json
from typing import Any

from rlguide.preferences.comparisons import ANSWER_COLUMNS, RESPONSES
from rlguide.preferences.label_formats import LABELS
from rlguide.preferences.row_parts import ANSWERS
from rlguide.preferences.scored_lists import ANSWER_LISTS, RANK_LISTS, SCORE_LISTS

LISTS = ("conversations", "messages", "history", "rating", *ANSWER_LISTS, *SCORE_LISTS, *RANK_LISTS)
TEXT_OR_MESSAGES = (
    *("prompt", "input", "question", "context", *ANSWERS, "completion", "response", *ANSWER_COLUMNS),
    *(*RESPONSES, "preferred_output", "non_preferred_output"),
)


def decode_cells(record: dict[str, Any]) -> str:
    """Replace JSON text by what it holds, where a format expects lists or messages; why it cannot be done, or ""."""
    for column in LISTS:
        cell = record.get(column)
        if cell and cell.lstrip().startswith("["):
            value = _decoded(cell)
            if not isinstance(value, list):
                return f"{column} is not JSON"
            record[column] = value
    for column in TEXT_OR_MESSAGES:
        cell = record.get(column)
        if cell and cell.lstrip()[:1] in ("[", "{"):
            value = _decoded(cell)
            if _are_messages(value):
                record[column] = value
    output = record.get("output")  # two texts in alpaca's old rankings, the answer beside a label
    if output and output.lstrip().startswith("[") and not any(label in record for label in LABELS):
        value = _decoded(output)
        if isinstance(value, list) and list(map(type, value)) == [str, str]:
            record["output"] = value
    return ""


def _decoded(cell: str) -> Any:
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return None


def _are_messages(value: Any) -> bool:
    """Whether this is a message, a list of them or an object that holds one, and not a text that looks like JSON."""
    if isinstance(value, list):
        return bool(value) and all(_is_message(entry) for entry in value)
    return _is_message(value) or (isinstance(value, dict) and isinstance(value.get("messages"), list))


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and ({"role", "content"} <= set(value) or {"from", "value"} <= set(value))
