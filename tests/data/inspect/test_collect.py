"""One stream over the rows."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from rlguide.data.example import Example, Turn
from rlguide.data.inspect.collect import END, Collector, collect, ends

TEXT = st.text(min_size=1, max_size=20)
PAIRS = st.builds(
    lambda texts, chosen, rejected, system: Example.pair(
        tuple(Turn("gpt" if index % 2 else "human", text) for index, text in enumerate(texts)), chosen, rejected, system
    ),
    st.lists(TEXT, min_size=1, max_size=5).filter(lambda texts: len(texts) % 2 == 1),
    TEXT,
    TEXT,
    st.sampled_from(["", "Be brief.", "Be kind."]),
)


@given(st.lists(PAIRS, min_size=1, max_size=25))
@settings(deadline=None)  # the first text in need of it loads the language library
def test_counts_are_those_of_plain_python(rows: list[Example]) -> None:
    figures = collect(Collector(None), rows).figures("x", None)
    assert figures.rows == len(rows)
    assert figures.turns == dict(sorted(Counter((len(row.messages) + 1) // 2 for row in rows).items()))
    assert figures.system == sum(bool(row.system) for row in rows)
    assert figures.systems == len({row.system for row in rows} - {""})
    assert figures.lengths["chosen"].max == max(len(row.chosen) for row in rows)
    assert figures.length_bias is not None
    unequal = [row for row in rows if len(row.chosen) != len(row.rejected)]
    longer = figures.length_bias.longer
    assert (longer.n if longer is not None else 0) == len(unequal) == len(rows) - figures.length_bias.equal
    if longer is not None:
        assert longer.hits == sum(len(row.chosen) > len(row.rejected) for row in rows)
    keys = [(row.system, row.messages, row.chosen, row.rejected) for row in rows]
    assert figures.duplicates.exact == len(keys) - len(set(keys))
    assert figures.languages_rows == sum(figures.languages.values()) == len(rows)


@given(st.lists(PAIRS, max_size=30), st.integers(0, 10), st.integers(0, 100))
def test_the_sample_is_drawn_from_the_rows_without_duplicates(rows: list[Example], size: int, seed: int) -> None:
    drawn = collect(Collector(None, size, seed), rows).sample
    assert len(drawn) == min(size, len(rows))
    assert len({number for number, _ in drawn}) == len(drawn)
    assert all(rows[number - 1] is row for number, row in drawn)
    assert drawn == collect(Collector(None, size, seed), rows).sample


def numbered(count: int) -> list[Example]:
    return [Example.pair((Turn("human", f"What is number {n}?"),), "Yes, this one.", "No.") for n in range(count)]


def test_every_row_is_as_likely_to_be_drawn() -> None:
    rows = numbered(20)
    counts = Counter(number for seed in range(2000) for number, _ in collect(Collector(None, 5, seed), rows).sample)
    assert set(counts) == set(range(1, 21))
    assert all(abs(count - 500) < 100 for count in counts.values())  # five standard deviations


def test_large_data_is_looked_at_closely_in_part_and_says_so() -> None:
    figures = collect(Collector(2000, thorough=500), numbered(2000)).figures("x", None)
    assert figures.rows == figures.duplicates.rows == figures.lengths["prompt"].rows == 2000
    assert 400 < figures.languages_rows == figures.duplicates.near_rows < 600


def test_scores_are_used_where_they_are() -> None:
    row = numbered(1)[0]
    scored = [row._replace(scores=scores) for scores in ((8.0, 3.0), (5.0, 5.0), (1.0, 2.0), (4.5, 4.0), None)]
    margins = collect(Collector(None), scored).figures("x", None).margins
    assert margins is not None
    assert (margins.spread.rows, margins.ties, margins.negative, margins.spread.max) == (4, 1, 1, 5.0)
    assert margins.smallest_positive == 0.5


def test_labelled_responses_have_no_pairs() -> None:
    rows = [Example.labelled((Turn("human", f"Is {n} even?"),), "Yes it is." * (n + 1), n % 3 == 0) for n in range(9)]
    figures = collect(Collector(None), rows).figures("x", None)
    assert (figures.kind, figures.desirable, figures.length_bias, figures.margins) == ("labels", 3, None, None)
    assert set(figures.lengths) == {"prompt", "response"}
    assert figures.lengths["response"].max == 90


def test_shared_prompts_are_found_whatever_the_responses() -> None:
    rows = numbered(50)
    heldout = [Example.pair(rows[7].messages, "Other.", "Another."), *numbered(53)[50:]]
    overlap = collect(Collector(None), rows, heldout).figures("x", "x_test").overlap
    assert overlap is not None
    assert (overlap.rows, overlap.exact, overlap.near) == (4, 1, 0)


def test_overlap_goes_by_the_rule_of_the_split() -> None:
    rows = [Example.pair((Turn("human", "What is the capital of France?"),), "Paris.", "Rome.")]
    heldout = [Example.pair((Turn("human", " WHAT is the\ncapital of France？"),), "Paris.", "Lyon.", "Be brief.")]
    overlap = collect(Collector(None), rows, heldout).figures("x", "x_test").overlap
    assert overlap is not None
    assert (overlap.rows, overlap.exact, overlap.near) == (1, 1, 0)


def test_a_prompt_that_differs_in_a_word_overlaps_nearly() -> None:
    text = "Explain in a few words to a child of ten why the sky is blue at noon and red in the evening, {} a formula."
    rows = [*numbered(50), Example.pair((Turn("human", text.format("without")),), "a", "b")]
    overlap = collect(Collector(None), rows, [Example.pair((Turn("human", text.format("with")),), "a", "b")])
    found = overlap.figures("x", "x_test").overlap
    assert found is not None
    assert (found.exact, found.near) == (0, 1)


def test_ends_keep_both_ends() -> None:
    assert ends("short") == "short"
    text = "a" * END + "x" * 5 * END + "b" * END
    assert ends(text) == "a" * END + " " + "b" * END
