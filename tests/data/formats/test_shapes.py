"""Shapes of public data (`shapes.yaml`), each with what comes of it; and how many of them are right at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlguide.data.checks.examples import check_example
from rlguide.data.example import BadRow, Example
from rlguide.data.formats.base import Wanted
from rlguide.data.formats.reading import choose_reading
from rlguide.data.ingest.options import IngestOptions, parse_columns
from rlguide.data.ingest.register import register_all
from rlguide.data.store.reading import read_examples
from rlguide.errors import RlguideError
from rlguide.workspace import Workspace

Shape = dict[str, Any]
SHAPES: list[Shape] = yaml.safe_load(Path(__file__).with_name("shapes.yaml").read_text(encoding="utf-8"))
HOLDING = [shape for shape in SHAPES if {"chosen", "label"} & shape["want"].keys() or shape.get("holds")]
IN_FILES = [shape for shape in SHAPES if "refused" not in shape["want"] and "ask" not in shape][::6]
RIGHT_AT_ONCE, RIGHT_WITH_ONE_OPTION = 0.8, 0.95  # shares of the shapes that hold a preference (issue 10)


def read(shape: Shape, options: dict[str, Any]) -> tuple[list[Example], str]:
    """The examples of all rows; or [] and why there are none."""
    wanted = Wanted(columns=parse_columns(options.get("columns", "")), good_from=options.get("good_from"))
    try:
        reading = choose_reading(shape["rows"], "data.jsonl", wanted)
        found, reasons = [], []
        for row in shape["rows"]:
            try:
                made = reading.to_examples(row)
                for example in made:
                    check_example(example)
                found += made
            except BadRow as reason:
                reasons.append(str(reason))
    except RlguideError as error:
        return [], f"{error.what} | {error.fix}"
    if reasons and found:
        raise AssertionError(f"rows are lost: {reasons}")
    return found, " ".join(reasons)


def told(example: Example) -> dict[str, Any]:
    """An example in the words of the list."""
    turns = [turn.value for turn in example.messages]
    said: dict[str, Any] = {"prompt": turns if len(turns) > 1 else turns[0]}
    if example.system:
        said["system"] = example.system
    if example.label is not None:
        return said | {"response": example.chosen, "label": example.label}
    if example.kind == "responses":
        return said | {"response": example.chosen}
    return said | {"chosen": example.chosen, "rejected": example.rejected}


def outcome(shape: Shape) -> str:
    """right, option, refused, or wrong with what came out."""
    want = shape["want"]
    found, why = read(shape, {})
    if found:
        return "right" if told(found[0]) == want else f"wrong: {told(found[0])}"
    if "refused" in want:
        return "refused" if want["refused"] in why else f"wrong words: {why}"
    again, why_not = read(shape, shape["ask"]) if "ask" in shape else ([], why)
    return "option" if again and told(again[0]) == want else f"wrong: {[told(one) for one in again[:1]]} {why_not}"


def expected(shape: Shape) -> str:
    return "refused" if "refused" in shape["want"] else "option" if "ask" in shape else "right"


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape['source']}: {shape['shape']}"[-90:])
def test_a_public_shape_comes_out_as_it_must(shape: Shape) -> None:
    assert outcome(shape) == expected(shape)


def test_most_shapes_are_right_at_once_and_none_is_wrong() -> None:
    found = [outcome(shape) for shape in HOLDING]
    assert not [one for one in found if one.startswith("wrong")]
    at_once = found.count("right")
    assert at_once >= RIGHT_AT_ONCE * len(HOLDING)
    assert at_once + found.count("option") >= RIGHT_WITH_ONE_OPTION * len(HOLDING)


@pytest.mark.parametrize("shape", IN_FILES, ids=lambda shape: shape["source"][-60:])
def test_a_public_shape_goes_in_from_a_file(shape: Shape, tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in shape["rows"])
    (tmp_path / "rows.jsonl").write_text(lines, encoding="utf-8")
    workspace = Workspace(tmp_path)
    register_all(workspace, [tmp_path / "rows.jsonl"], IngestOptions(name="rows", test_size=0))
    assert shape["want"] in [told(example) for example in read_examples(workspace, "rows")]


def test_names_of_models_are_no_responses() -> None:
    names = [("gpt", "llama", "gpt"), ("llama", "gpt", "gpt")]
    rows = [
        {
            "prompt": "Name a tree.",
            "model_a": a,
            "model_b": b,
            "response_a": "Oak.",
            "response_b": "Elm.",
            "winner": won,
        }
        for a, b, won in names
    ]
    found, _ = read({"rows": rows}, {})
    assert all({*one.responses} == {"Oak.", "Elm."} for one in found)


def test_what_a_guess_names_is_a_text() -> None:
    row = {
        "text_q": "What is it?",
        "user": "u12",
        "winner": "a",
        "good_image": "a.png",
        "chosen": "It is x.",
        "other": "No.",
    }
    _, why = read({"rows": [row, row | {"user": "u13", "winner": "b"}]}, {})
    assert why
    assert not [name for name in ("user", "winner", "good_image") if f"={name}" in why]
