"""Rows of annotation tools, whose columns stand in objects: Label Studio's export, and argilla's records.

Sources: https://labelstud.io/guide/export (JSON: data, annotations[].result[].value) and argilla's `Record.to_dict`
(fields, responses, suggestions).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlguide.data.cells.values import Record

WRAPPERS = ("data", "annotations", "fields", "responses")  # the columns of such records
_VALUES = ("selected", "choices", "rating", "text", "labels")  # keys of a value in Label Studio


def flattened(row: Any) -> Any:
    """The row with its columns at the top, if it is such a record; the same object if not."""
    if not isinstance(row, dict):
        return row
    if "annotations" in row and isinstance(row.get("data"), dict) and isinstance(row["annotations"], list):
        return _label_studio(row)
    if "fields" in row and isinstance(row["fields"], dict):
        return _argilla(row)
    return row


def opened(row: Record, inner: Sequence[str]) -> Record:
    """The row with columns inside objects (`info.post`) at the top, too."""
    found = {}
    for name in inner:
        value: Any = row
        for key in name.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        found[name] = value
    return row | found


def _label_studio(row: Record) -> Record:
    found: dict[str, Any] = dict(row["data"])
    said: dict[str, list[Any]] = {}
    for annotation in row["annotations"]:
        results = annotation.get("result") if isinstance(annotation, dict) else None
        if not isinstance(results, list) or annotation.get("was_cancelled"):
            continue
        for result in results:
            given = result.get("value") if isinstance(result, dict) else None
            value: dict[str, Any] = given if isinstance(given, dict) else {}
            for key in _VALUES:
                for one in value[key] if isinstance(value.get(key), list) else [value.get(key)]:
                    if one is not None:
                        said.setdefault("preference" if key == "selected" else str(result.get("from_name")), []).append(
                            one
                        )
    return found | {name: values[0] if len(values) == 1 else values for name, values in said.items()}


def _argilla(row: Record) -> Record:
    found: dict[str, Any] = dict(row["fields"])
    responses = row.get("responses")
    if isinstance(responses, dict):  # question -> the answers of several users
        return found | responses
    answers: dict[str, list[Any]] = {}
    for response in responses if isinstance(responses, list) else ():
        values = response.get("values") if isinstance(response, dict) else None
        if isinstance(values, dict) and response.get("status") != "discarded":
            for question, value in values.items():
                answers.setdefault(question, []).append(value)
    return found | answers
