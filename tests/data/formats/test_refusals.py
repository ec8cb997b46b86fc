"""What is said of rows that nothing fits: what is wrong with the values, and options that read the rows when pasted."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rlguide.data.formats.base import Wanted
from rlguide.data.formats.reading import choose_reading
from rlguide.data.ingest.options import parse_columns
from rlguide.errors import DataError

P = [f"Which of the {n} doors is open?" for n in range(4)]
TWO = [{"prompt": P[n], "response_1": f"The red one, {n}.", "response_2": f"The blue one, {n}."} for n in range(4)]
LIST = [{"prompt": P[n], "responses": [f"The red one, {n}.", f"The blue one, {n}."]} for n in range(4)]
ONE = [{"prompt": P[n], "response": f"The red one, {n}."} for n in range(4)]


def put(rows: list[dict[str, Any]], **columns: Any) -> list[dict[str, Any]]:
    return [{**row, **{name: values[at % 2] for name, values in columns.items()}} for at, row in enumerate(rows)]


def refusal(rows: list[dict[str, Any]], **wanted: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        choose_reading(rows, "file", Wanted(**wanted))
    return caught.value


# Rows, what is said of their values, and how they are read with what the fix says (a shape, and whose columns).
PASTED = [
    (put(TWO, preference=(0, 1)), "preference holds 0, 1", "comparison"),
    (put(TWO, quality_note=("response_1", "response_2")), "no column says clearly", "comparison"),
    (put(LIST, ranking=([1, 2], [2, 1])), "which is the best", "scored-list"),
    (LIST, "which is the best", "ranked-list"),
    (put(LIST, place=(0, 1)), "which is the best", "scored-list"),
    (put(ONE, decision=("accept", "reject")), "decision may say", "label"),
    (put(ONE, label=(1, 2)), "label holds 1, 2", "label"),
    (put(ONE, stars=(4, 2)), "stars rates", "label"),
    (
        [{"promt": p, "choosen": f"Yes, {p}", "rejcted": f"No, {p}"} for p in P],
        "columns are choosen, promt, rejcted",
        "pair",
    ),
]


@pytest.mark.parametrize(("rows", "said", "shape"), PASTED, ids=range(len(PASTED)))
def test_options_of_a_fix_read_the_rows(rows: list[dict[str, Any]], said: str, shape: str) -> None:
    error = refusal(rows)
    assert said in error.what
    options = re.findall(r"--(columns|format|good-from) ([^\s;]+)", error.fix)
    assert options
    for option, value in options:
        wanted = {
            "columns": lambda value: Wanted(columns=parse_columns(value)),
            "format": lambda value: Wanted(form=value),
            "good-from": lambda value: Wanted(good_from=float(value)),
        }[option](value)
        reading = choose_reading(rows, "file", wanted)
        assert (reading.name, reading.good()) == (shape, len(rows))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"prompt": p, "chosen": True, "rejected": False} for p in P], "chosen holds true or false"),
        (
            [
                {"prompt": p, "chosen": [{"who": "me", "says": "x"}], "rejected": [{"who": "me", "says": "y"}]}
                for p in P
            ],
            "chosen holds lists of objects with the keys says, who",
        ),
        (put(ONE, rating=("5 stars", "1 star")), "rating holds 5 stars, 1 star"),
        (put(ONE, feedback=("fine", "meh")), "feedback holds fine, meh, which say neither good nor bad"),
        (put(TWO, winner=(True, False)), "winner holds True, False"),
        (put(TWO, response_3=("None is.", "All are."), best=(1, 3)), "response_1, response_2, response_3 look like"),
    ],
)
def test_what_is_wrong_with_values_is_said_and_no_wrong_columns_are_guessed(rows: Any, said: str) -> None:
    error = refusal(rows)
    assert said in error.what
    assert "--columns" not in error.fix


def test_good_from_without_a_rating() -> None:
    assert refusal(put(ONE, thumb=("x", "y")), good_from=4.0).fix == "leave out --good-from"


def test_a_column_in_other_letters_is_found() -> None:
    rows = [{"Q": p, "W": f"Yes, {p}", "L": f"No, {p}"} for p in P]
    for text in ("prompt=q,chosen=w,rejected=l", "prompt=Q; chosen=W; rejected=L", "prompt=Q，chosen=W，rejected=L"):
        assert choose_reading(rows, "file", Wanted(columns=parse_columns(text))).good() == len(rows)
