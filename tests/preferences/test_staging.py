from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlguide.preferences.pair import Pair, Turn, to_line
from rlguide.preferences.staging import Staging

fresh = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def pair(prompt: int, number: int, system: str = "") -> Pair:
    return Pair((Turn("human", f"question {prompt}"),), f"good {number}", f"bad {number}", system)


def stage(staging: Staging, pairs: list[Pair]) -> None:
    for one in pairs:
        staging.add(one, to_line(one))


def rows(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def prompt(line: str) -> str:
    row = json.loads(line)
    return json.dumps([row["system"], row["conversations"]])


@fresh
@given(
    prompts=st.lists(st.integers(0, 30), min_size=1, max_size=120),
    share=st.none() | st.floats(0, 0.99),
    seed=st.integers(0, 5),
)
def test_each_row_goes_to_one_side_and_each_prompt_too(
    tmp_path: Path, prompts: list[int], share: float | None, seed: int
) -> None:
    pairs = [pair(number % 31, index) for index, number in enumerate(prompts)]
    with Staging(tmp_path, "数据", seed) as staging:
        stage(staging, pairs)
        chosen = staging.choose_heldout(share)
        train = staging.write(tmp_path / "train.jsonl", lambda value: value not in chosen)
        heldout = staging.write(tmp_path / "test.jsonl", chosen.__contains__)
    left, right = rows(train.path), rows(heldout.path)
    assert Counter(left + right) == Counter(to_line(one).decode().rstrip("\n") for one in pairs)
    assert not {*map(prompt, left)} & {*map(prompt, right)}
    assert (train.rows, heldout.rows) == (len(left), len(right))
    assert train.bytes == train.path.stat().st_size
    assert left, "something must be left to train on"
    counts = Counter(prompts)
    if share == 0 or len(counts) == 1:
        assert not right
    else:
        wanted = max(1, round(len(pairs) * (0.05 if share is None else share)))
        assert 1 <= len(right) <= max(wanted, min(counts.values()))
    assert not list(tmp_path.glob(".*.tmp"))


def test_the_choice_depends_on_prompt_and_seed_only(tmp_path: Path) -> None:
    def heldout(pairs: list[Pair], seed: int) -> set[str]:
        with Staging(tmp_path, "x", seed) as staging:
            stage(staging, pairs)
            chosen = staging.choose_heldout(0.2)
            return {*map(prompt, rows(staging.write(tmp_path / "t.jsonl", chosen.__contains__).path))}

    pairs = [pair(number, number) for number in range(200)]
    assert heldout(pairs, 1) == heldout(pairs[::-1], 1)
    assert heldout(pairs, 1) != heldout(pairs, 2)
    assert len(heldout(pairs, 1)) == 40


def test_the_default_share_is_five_percent_and_at_most_2000(tmp_path: Path) -> None:
    for count, expected in ((2, 1), (100, 5), (50_000, 2000)):
        with Staging(tmp_path, "x") as staging:
            stage(staging, [pair(number, number) for number in range(count)])
            assert len(staging.choose_heldout(None)) == expected


def test_another_system_prompt_is_another_prompt(tmp_path: Path) -> None:
    with Staging(tmp_path, "x") as staging:
        assert staging.hash(pair(1, 1)) == staging.hash(pair(1, 2))
        assert staging.hash(pair(1, 1)) != staging.hash(pair(1, 1, system="Be brief."))
        joined = Pair((Turn("human", "a"), Turn("gpt", "b"), Turn("human", "c")), "x", "y")
        assert staging.hash(joined) != staging.hash(Pair((Turn("human", 'a", "b", "c'),), "x", "y"))


@fresh
@given(count=st.integers(2, 60), limit=st.integers(2, 30), seed=st.integers(0, 3))
def test_a_sample_has_the_size_asked_for(tmp_path: Path, count: int, limit: int, seed: int) -> None:
    with Staging(tmp_path, "x", seed, limit) as staging:
        stage(staging, [pair(number, number) for number in range(count)])
        assert len(staging) == min(count, limit)
        written = rows(staging.write(tmp_path / "t.jsonl", lambda _: True).path)
    assert len(set(written)) == min(count, limit)
    order = [int(json.loads(line)["chosen"]["value"].split()[1]) for line in written]
    assert order == sorted(order)


def test_a_sample_is_fair(tmp_path: Path) -> None:
    times = Counter[int]()
    for seed in range(300):
        with Staging(tmp_path, "x", seed, 10) as staging:
            stage(staging, [pair(number, number) for number in range(40)])
            for line in rows(staging.write(tmp_path / "t.jsonl", lambda _: True).path):
                times[int(json.loads(line)["chosen"]["value"].split()[1])] += 1
    assert times.total() == 3000
    # Each of 40 rows is expected 75 times, with a standard deviation of 7.5: five of them on either side.
    assert all(37 < times[number] < 113 for number in range(40))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    from rlguide.errors import RlguideError

    (tmp_path / "file").write_text("")
    with pytest.raises(RlguideError, match="cannot write"), Staging(tmp_path / "file" / "data", "x"):
        pass
