from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlguide.data.curate.filters import Filters
from rlguide.data.curate.holdout import NO_SPLIT, Split
from rlguide.data.example import Example, Turn
from rlguide.data.store import staging as module
from rlguide.data.store.columns import from_row
from rlguide.data.store.row_counts import RowCounts
from rlguide.data.store.staging import Staging
from rlguide.errors import RlguideError

fresh = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def pair(prompt: int, number: int, system: str = "") -> Example:
    return Example.pair((Turn("human", f"question {prompt}"),), f"good {number}", f"bad {number}", system)


def read(path: Path) -> list[Example]:
    return [from_row(row) for row in pq.read_table(path).to_pylist()]


def split(
    folder: Path, pairs: list[Example], share: float | None = None, filters: Filters | None = None, expected: int = 0
) -> tuple[list[Example], list[Example], RowCounts]:
    """What is written to the training and the held-out file."""
    counts = RowCounts()
    with Staging(folder / "数据", filters or Filters(), Split(share, expected or len(pairs))) as staging:
        for one in pairs:
            staging.add(one)
        written = staging.finish(counts)
        found = [read(file.path) for file in written]
        for file, rows in zip(written, found, strict=True):
            assert (file.rows, file.bytes) == (len(rows), file.path.stat().st_size)
            file.path.unlink()
    assert not list(folder.iterdir())
    return found[0], found[1] if len(found) > 1 else [], counts


def prompts(pairs: list[Example]) -> set[Any]:
    return {one.messages for one in pairs}


@fresh
@given(
    numbers=st.lists(st.integers(0, 30), min_size=1, max_size=120),
    share=st.none() | st.floats(0, 0.99),
    seed=st.integers(0, 5),
    expected=st.none() | st.integers(1, 10_000),
)
def test_each_row_goes_to_one_side_and_each_prompt_too(
    tmp_path: Path, numbers: list[int], share: float | None, seed: int, expected: int | None
) -> None:
    """Also on the way of a large file, where rows that cannot be held out do not wait, and with a wrong expectation."""
    pairs = [pair(number % 31, index) for index, number in enumerate(numbers)]
    with pytest.MonkeyPatch.context() as patch:
        if expected:
            patch.setattr(module, "LARGE", 1)
            patch.setattr(module, "PROBE", 10)
            patch.setattr(module, "BATCH_ROWS", 7)
        train, heldout, _ = split(tmp_path, pairs, share, Filters(seed=seed), expected or 1)
    assert Counter(train + heldout) == Counter(pairs)
    assert not prompts(train) & prompts(heldout)
    assert train, "something must be left to train on"
    counts = Counter(numbers)
    if share == 0 or len(counts) == 1:
        assert not heldout
    else:
        wanted = max(1, round(len(pairs) * (0.05 if share is None else share)))
        assert len(heldout) <= 2 * wanted
        if not expected:
            assert bool(heldout) == (min(counts.values()) <= 2 * wanted)


@pytest.mark.parametrize(
    ("prompts", "rows", "share", "heldout", "why"),
    [
        (3, 60_000, None, 0, "there are 3 prompts with 20,000 rows or more each, and 2,000 rows are wanted"),
        (3, 60_000, 0.2, 20_000, ""),
        (12, 24_000, None, 2000, ""),
        (20, 60_000, None, 3000, ""),
        (2, 12, None, 0, "there are 2 prompts with 6 rows or more each, and 1 row is wanted"),
        (5, 20, None, 4, ""),
        (8, 800, None, 100, ""),
        (1, 60, None, 0, "there is only one prompt"),
    ],
)
def test_few_prompts_with_many_rows(
    tmp_path: Path, prompts: int, rows: int, share: float | None, heldout: int, why: str
) -> None:
    """A whole question is held out only if that stays near what is wanted; otherwise nothing is, and that is said."""
    with Staging(tmp_path / "x", Filters(), Split(share, rows)) as staging:
        for number in range(rows):
            staging.add(pair(number % prompts, number))
        written = staging.finish(RowCounts())
        assert sum(file.rows for file in written[1:]) == heldout
        assert sum(file.rows for file in written) == rows
        assert staging.nothing_held_out.startswith(why) if not heldout else not staging.nothing_held_out


def test_the_choice_depends_on_prompt_and_seed_only(tmp_path: Path) -> None:
    pairs = [pair(number, number) for number in range(200)]
    first = prompts(split(tmp_path, pairs, 0.2, Filters(seed=1))[1])
    assert first == prompts(split(tmp_path, pairs[::-1], 0.2, Filters(seed=1))[1])
    assert first != prompts(split(tmp_path, pairs, 0.2, Filters(seed=2))[1])
    assert len(first) == 40


def test_the_way_of_a_large_file_holds_out_the_same_rows(tmp_path: Path) -> None:
    pairs = [pair(number, number) for number in range(30_000)]
    large = split(tmp_path, pairs, expected=30_000)
    waited = split(tmp_path, pairs, expected=1)
    assert [set(side) for side in large[:2]] == [set(side) for side in waited[:2]]
    kept = set(waited[0])
    assert waited[0] == [one for one in pairs if one in kept], "in the order of the source"
    assert large[0] != waited[0]


@pytest.mark.parametrize("expected", [20_000, 60_000, 1_000_000])
def test_prompts_that_come_back_later_in_a_large_file(tmp_path: Path, expected: int) -> None:
    pairs = [pair(number % 20_000, number) for number in range(60_000)]
    train, heldout, _ = split(tmp_path, pairs, expected=expected)
    assert not prompts(train) & prompts(heldout)
    assert len(train) + len(heldout) == 60_000
    if expected == 60_000:
        assert 1990 < len(heldout) <= 2000


def test_the_default_share_is_five_percent_and_at_most_2000(tmp_path: Path) -> None:
    for count, expected in ((2, 1), (100, 5), (50_000, 2000)):
        assert len(split(tmp_path, [pair(number, number) for number in range(count)])[1]) == expected


def test_case_blanks_and_system_prompt_do_not_make_another_prompt(tmp_path: Path) -> None:
    with Staging(tmp_path / "x", Filters(), NO_SPLIT) as staging:
        assert staging.hash(pair(1, 1)) == staging.hash(pair(1, 2)) == staging.hash(pair(1, 1, system="Be brief."))
        assert staging.hash(pair(1, 1)) != staging.hash(pair(2, 1))
        assert staging.hash(Example.pair((Turn("human", " Hi There\n"),), "x", "y")) == staging.hash(
            Example.pair((Turn("human", "hi there"),), "x", "y")
        )
        joined = Example.pair((Turn("human", "a"), Turn("gpt", "b"), Turn("human", "c")), "x", "y")
        assert staging.hash(joined) != staging.hash(Example.pair((Turn("human", "a\nb\nc"),), "x", "y"))


@fresh
@given(count=st.integers(2, 60), limit=st.integers(2, 30), seed=st.integers(0, 3))
def test_a_sample_has_the_size_asked_for(tmp_path: Path, count: int, limit: int, seed: int) -> None:
    pairs = [pair(number, number) for number in range(count)]
    kept, _, counts = split(tmp_path, pairs, 0, Filters(max_samples=limit, seed=seed))
    assert len(set(kept)) == min(count, limit)
    assert kept == [one for one in pairs if one in kept]
    assert counts.filtered.total() == count - len(kept)


def test_a_sample_is_fair(tmp_path: Path) -> None:
    times = Counter[Example]()
    for seed in range(100):
        times.update(
            split(tmp_path, [pair(number, number) for number in range(40)], 0, Filters(max_samples=10, seed=seed))[0]
        )
    assert times.total() == 1000
    # Each of 40 rows is expected 25 times, with a standard deviation of 4.3: five of them on either side.
    assert len(times) == 40 and all(3 < count < 47 for count in times.values())


@fresh
@given(lengths=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=80))
def test_balanced_lengths(tmp_path: Path, lengths: list[tuple[int, int]]) -> None:
    pairs = [
        Example.pair((Turn("human", str(index)),), "a" * chosen, "b" * rejected)
        for index, (chosen, rejected) in enumerate(lengths)
    ]
    kept, _, counts = split(tmp_path, pairs, 0, Filters(balance_length=True))
    signs = Counter((len(one.chosen) > len(one.rejected)) - (len(one.chosen) < len(one.rejected)) for one in kept)
    assert signs[1] == signs[-1]
    assert signs[0] == sum(chosen == rejected for chosen, rejected in lengths), "equal lengths stay"
    assert counts.filtered.total() == len(pairs) - len(kept)


def test_balancing_keeps_what_is_balanced(tmp_path: Path) -> None:
    pairs = [
        Example.pair((Turn("human", str(index)),), "a" * (100 + 10 * way), "b" * (100 - 10 * way))
        for index, way in enumerate([1, -1] * 50)
    ]
    assert split(tmp_path, pairs, 0, Filters(balance_length=True))[0] == pairs


def test_repeats_are_no_contradictions_and_no_other_prompts(tmp_path: Path) -> None:
    context = "The quick brown fox jumps over the lazy dog and runs into the deep forest at night. " * 20

    def ask(question: str, chosen: str, rejected: str) -> Example:
        return Example.pair((Turn("human", f"{context}\n{question}"),), chosen, rejected)

    answer = "It was the fox, and it ran away into the forest where the owls and the badgers live. " * 3
    pairs = [
        ask("Who jumps?", "The fox.", "The cat."),
        ask("Where does it run?", "Into the forest.", "Home."),
        ask("When?", "At night.", "At noon."),
        ask("Who jumps?", "The cat.", "The fox."),  # a contradiction
        ask("who jumps", "the fox", "the cat"),  # a repeat
        ask("Why?", answer, "No idea."),
        ask("Why?", answer.replace("badgers", "hedgehogs", 1), "No idea."),  # nearly a repeat
    ]
    kept, _, counts = split(tmp_path, pairs, 0, Filters(dedupe=True))
    assert kept == [*pairs[:4], pairs[5]]
    assert counts.filtered.total() == 2


def test_labels_that_contradict_are_no_repeats(tmp_path: Path) -> None:
    rows = [Example.labelled((Turn("human", "q"),), "an answer " * 20, label) for label in (True, False, True)]
    with Staging(tmp_path / "x", Filters(dedupe=True), NO_SPLIT, "labels") as staging:
        for row in rows:
            staging.add(row)
        (written,) = staging.finish(RowCounts())
        assert sorted(row["label"] for row in pq.read_table(written.path).to_pylist()) == [False, True]


def test_labelled_rows_of_one_prompt_are_no_neighbours(tmp_path: Path) -> None:
    rows = [
        Example.labelled((Turn("human", str(number // 2)),), f"{number}", number % 2 == 0) for number in range(45_000)
    ]
    with Staging(tmp_path / "x", Filters(), NO_SPLIT, "labels") as staging:
        for row in rows:
            staging.add(row)
        (written,) = staging.finish(RowCounts())
        found = pq.read_table(written.path).to_pylist()
    assert (written.rows, written.desirable) == (45_000, 22_500)
    assert sorted(int(row["answer"]) for row in found) == list(range(45_000)), "several windows, nothing lost"
    assert all(a["prompt"] != b["prompt"] for a, b in pairwise(found))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    staging = Staging(tmp_path / "file" / "data" / "x", Filters(), NO_SPLIT)
    with pytest.raises(RlguideError, match="cannot write"), staging:
        pass
