"""Votes are blind, in a random order that is the same again, and none is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.conversation import Response
from rlguide.evaluation.comparison.record import Compared
from rlguide.evaluation.preference.outcome import Judged, Outcome
from rlguide.evaluation.preference.votes import VOTES, Vote, add_vote, election, read_votes
from rlguide.evaluation.preference.voting import Action, Booth


def records(n: int = 12) -> list[Compared]:
    return [
        Compared(
            "file",
            [{"role": "user", "content": f"question {at}"}],
            {"sft": Response(f"bad {at}", "stop"), "dpo": Response(f"good {at}", "stop")},
        )
        for at in range(n)
    ]


def booth(folder: Path, voter: str = "me", seed: int = 0, n: int = 12) -> Booth:
    return Booth(folder, records(n), "dpo", "sft", voter, seed)


def voter(found: Booth, *actions: Action | Callable[[Compared], Action]) -> list[str]:
    """Votes by these actions, one after another; gives the prompts that were seen."""
    seen: list[str] = []
    given = iter(actions)

    def act() -> Action:
        done = {key for name, key in read_votes(found.folder, "dpo", "sft") if name == found.voter}
        record = next(item for item in found.ballot() if item.key("dpo", "sft") not in done)
        seen.append(record.prompt[0]["content"])
        action = next(given, "quit")
        return action(record) if callable(action) else action

    found.vote(act)
    return seen


def test_who_always_takes_the_better_one(tmp_path: Path) -> None:
    found = booth(tmp_path)
    good = [lambda record: "left" if found.left(record) == "model" else "right"] * 12
    voter(found, *good)
    result = election(tmp_path, [item.key("dpo", "sft") for item in records()], "dpo", "sft")
    assert result.as_dict()["wins"] == 12 and result.win_rate is not None and result.win_rate.low > 0.5
    turned = election(tmp_path, [item.key("dpo", "sft") for item in records()], "sft", "dpo")
    assert turned.as_dict()["losses"] == 12


def test_the_order_is_shuffled_and_the_same_again(tmp_path: Path) -> None:
    one, two = booth(tmp_path), booth(tmp_path, voter="you")
    order = [item.prompt[0]["content"] for item in one.ballot()]
    assert order == [item.prompt[0]["content"] for item in booth(tmp_path).ballot()]
    assert order != [item.prompt[0]["content"] for item in two.ballot()]
    assert order != [f"question {at}" for at in range(12)]
    many = booth(tmp_path, n=400)
    lefts = sum(many.left(record) == "model" for record in many.records)
    assert 160 < lefts < 240
    turned = Booth(tmp_path, many.records, "sft", "dpo", "me")
    assert all((many.left(record) == "model") == (turned.left(record) == "other") for record in many.records)


def test_it_goes_on_where_it_was_left(tmp_path: Path) -> None:
    first = voter(booth(tmp_path), "left", "tie", "skip")
    rest = voter(booth(tmp_path), *["right"] * 12)
    assert len(first) == 4 and first[3] == rest[0] and len(rest) == 9
    assert not set(first[:3]) & set(rest)


def test_undo_takes_back_the_last_also_of_another_time(tmp_path: Path) -> None:
    seen = voter(booth(tmp_path), "left", "right", "undo")
    assert seen[1] == seen[3]
    again = voter(booth(tmp_path), "undo", "undo", "tie")
    assert again == [seen[1], seen[0], seen[0], seen[1]]
    (vote,) = read_votes(tmp_path, "dpo", "sft").values()
    assert vote.choice == "tie"


def test_a_line_that_was_cut_costs_only_itself(tmp_path: Path) -> None:
    voter(booth(tmp_path), "left", "tie")
    path = tmp_path / VOTES
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        before = len(read_votes(tmp_path, "dpo", "sft"))
        add_vote(tmp_path, Vote("k", "you", "tie", "dpo", "sft", "model", 0))
        assert len(read_votes(tmp_path, "dpo", "sft")) == before + 1


@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(st.sampled_from(["key", "voter", "choice", "model", "other", "left", "seed"]), x)
        ),
    )
)
def test_any_line_is_read(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    folder = tmp_path_factory.mktemp("votes")
    (folder / VOTES).write_text(json.dumps(value))
    assert read_votes(folder, "dpo", "sft") == {}


def test_voters_and_judge_agree_as_they_do(tmp_path: Path) -> None:
    def give(name: str, place: int, choice: str, turned: bool = False) -> None:
        pair = ("sft", "dpo") if turned else ("dpo", "sft")
        add_vote(tmp_path, Vote(f"k{place}", name, choice, *pair, "model", 0))  # type: ignore[arg-type]

    for place, (one, two) in enumerate([("model", "model"), ("model", "other"), ("tie", "tie"), ("other", "skip")]):
        give("one", place, one)
        give("two", place, {"model": "other", "other": "model"}.get(two, two), turned=True)
    result = election(tmp_path, ["k0", "k1", "k2", "k3"], "dpo", "sft")
    agreement = result.agreement()
    assert agreement is not None and (agreement.hits, agreement.n) == (2, 3)
    assert result.margins() == {"k0": 1, "k1": 0, "k2": 0, "k3": -1}
    judged = [Judged(f"k{at}", "first", "first", (1, 1)) for at in range(4)]
    both = result.with_judge(Outcome("dpo", "sft", "judge", judged, 0))
    assert both is not None and (both.hits, both.n) == (1, 2)
