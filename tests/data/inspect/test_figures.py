"""The arithmetic of the figures, and what is advised."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.curate.filters import Filters, balanced
from rlguide.data.curate.requested import response_language
from rlguide.data.example import Example, Turn
from rlguide.data.inspect.collect import Collector, collect
from rlguide.data.inspect.figures import BadRows, Figures, Tokens, length_bias, margins, quantiles
from rlguide.data.inspect.verdicts import percent, verdicts
from rlguide.statistics import proportion

LENGTHS = st.lists(st.integers(0, 10_000), min_size=1, max_size=200)


@given(LENGTHS)
def test_quantiles_are_ordered_and_lie_within(values: list[int]) -> None:
    spread = quantiles(np.array(values))
    assert spread is not None
    points = [spread.min, spread.p5, spread.p25, spread.median, spread.p75, spread.p95, spread.p99, spread.max]
    assert points == sorted(points)
    assert (spread.min, spread.max, spread.rows) == (min(values), max(values), len(values))
    assert spread.mean == pytest.approx(sum(values) / len(values))


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), min_size=1))
def test_swapping_the_answers_swaps_the_bias(pairs: list[tuple[int, int]]) -> None:
    chosen, rejected = (np.array(side) for side in zip(*pairs, strict=True))
    bias, swapped = length_bias(chosen, rejected), length_bias(rejected, chosen)
    assert bias is not None and swapped is not None
    if bias.longer is None or swapped.longer is None:
        assert bias.equal == swapped.equal == len(pairs)
        return
    assert bias.longer.hits + bias.shorter + bias.equal == len(pairs)
    assert bias.longer.n == len(pairs) - bias.equal
    assert (bias.longer.hits, bias.equal) == (swapped.shorter, swapped.equal)
    assert bias.longer.value == pytest.approx(1 - swapped.longer.value)
    assert bias.mean_ratio == pytest.approx(1 / swapped.mean_ratio)


def test_margins_count_ties_and_negatives() -> None:
    found = margins(np.array([1.0, 0.0, -0.5, 2.0, 0.0]))
    assert found is not None
    assert (found.ties, found.negative, found.spread.median) == (2, 1, 0.0)
    assert found.smallest_positive == 1.0
    assert margins(np.empty(0)) is None
    without = margins(np.array([0.0, -1.0]))
    assert without is not None and without.smallest_positive is None


def pair(question: str, chosen: str, rejected: str, system: str = "") -> Example:
    return Example.pair((Turn("human", question),), chosen, rejected, system)


QUESTIONS = ["Who wrote this", "What is that animal", "Where does it live", "How old is it", "Why is the sky blue?"]


def even(count: int = 400) -> list[Example]:
    """Rows with nothing wrong: chosen is the longer one in every second pair, no prompt comes again."""
    words = ["rain", "river", "stone", "bird", "house", "cloud", "tree", "night", "garden", "window", "letter"]
    rows = []
    for number in range(count):
        question = f"{QUESTIONS[number % 5]} with the {words[number % 11]} of number {number}?"
        answers = [f"It is the {words[number % 7]} number {number}, I think.", f"No, and not {number} either"]
        rows.append(pair(question, *answers[:: 1 if number % 2 else -1]))
    return rows


def figures_of(rows: list[Example], heldout: list[Example] | None = None) -> Figures:
    collector = collect(Collector(len(rows)), rows, heldout or ())
    figures = collector.figures("data", "data_test" if heldout else None)
    return replace(figures, verdicts=[verdict.sentence for verdict in verdicts(figures)])


def test_nothing_is_advised_about_sound_data() -> None:
    assert figures_of(even(), [pair("Is the moon made of cheese?", "No, of rock.", "Yes, of cheese.")]).verdicts == []


def test_long_chosen_answers_are_named() -> None:
    rows = [pair(p.messages[0].value, max(p.chosen, p.rejected, key=len), "No.") for p in even()]
    (verdict,) = verdicts(figures_of(rows))
    assert "100 %" in verdict.sentence and verdict.options is None
    assert "--balance-length, which would leave 0 of 400 pairs" in verdict.sentence


@pytest.mark.parametrize("shorter, advised", [(0, False), (20, False), (39, False), (41, True), (120, True)])
def test_balancing_is_advised_where_enough_is_left(shorter: int, advised: bool) -> None:
    longer = [pair(p.messages[0].value, "A long answer to this.", "No, to this.") for p in even()]
    rows = [pair(p.messages[0].value, p.rejected, p.chosen) if n < shorter else p for n, p in enumerate(longer)]
    (verdict,) = verdicts(figures_of(rows))
    assert verdict.options == (("--balance-length",) if advised else None)
    kept = int(balanced(np.array([(len(p.chosen), len(p.rejected)) for p in rows]), seed=7).sum())
    assert kept == 2 * shorter and f"{kept} of 400 pairs" in verdict.sentence


def test_few_rows_prove_no_bias() -> None:
    rows = [pair(p.messages[0].value, p.chosen + " and more of it to be longer", "No.") for p in even(3)]
    assert figures_of(rows).verdicts == []


def equally_long(count: int) -> list[Example]:
    return [pair(p.messages[0].value, p.chosen, p.chosen[::-1]) for p in even(count)]


def test_answers_of_equal_length_are_no_bias() -> None:
    figures = figures_of(equally_long(400))
    assert figures.length_bias is not None
    assert (figures.length_bias.longer, figures.length_bias.equal) == (None, 400)
    assert figures.verdicts == []
    rows = equally_long(300) + even(700)[300:]  # of those that differ, every second
    assert figures_of(rows).verdicts == []


def test_the_bias_is_that_of_the_pairs_that_differ_in_length() -> None:
    differ = [pair(p.messages[0].value, max(p.chosen, p.rejected, key=len), "No.") for p in even(700)[300:]]
    (verdict,) = figures_of(equally_long(300) + differ).verdicts
    assert "in 100 % of pairs whose responses differ in length" in verdict and "wordy" in verdict
    curt = [pair(p.messages[0].value, p.rejected, p.chosen) for p in differ]
    (verdict,) = figures_of(equally_long(300) + curt).verdicts
    assert "in only 0 % of pairs whose responses differ in length" in verdict and "curt" in verdict


def test_a_bias_of_few_pairs_among_many_equal_ones_is_not_worth_a_sentence() -> None:
    differ = [pair(p.messages[0].value, max(p.chosen, p.rejected, key=len), "No.") for p in even(420)[400:]]
    assert figures_of(equally_long(400) + differ).verdicts == []


@pytest.mark.parametrize("least, option", [(0.5, "0.5"), (0.1 + 0.2, "0.3"), (0.00012345, "0.00012"), (1234.0, "1200")])
def test_the_margin_that_is_named_leaves_out_ties_and_nothing_else(least: float, option: str) -> None:
    margins = [0.0, least, least * 2, least * 3]
    rows = [p._replace(scores=(margins[n % 4], 0.0)) for n, p in enumerate(even())]
    (verdict,) = verdicts(figures_of(rows))
    assert verdict.options == ("--min-margin", option)
    keep = Filters(min_margin=float(option))
    assert [keep.objection(row) is None for row in rows] == [row.scores != (0.0, 0.0) for row in rows]


def test_margins_below_0_are_named_and_pairs_without_scores() -> None:
    rows = [p._replace(scores=(n % 4 - 0.5, 0.0)) for n, p in enumerate(even())]
    (verdict,) = verdicts(figures_of(rows))
    assert verdict.options == ("--min-margin", "0") and "25 % of pairs" in verdict.sentence
    (verdict,) = verdicts(figures_of(rows + [p._replace(scores=None) for p in even(500)[400:]]))
    assert verdict.sentence.endswith("and the 100 pairs without scores")


def test_the_length_that_is_named_is_about_what_fits() -> None:
    figures = figures_of(even())
    spread = {name: replace(spread, mean=spread.mean / 4) for name, spread in figures.lengths.items()}
    cut = proportion(40, 400)
    tokens = Tokens("model", "default", 400, {**spread, "prompt + longer response": spread["prompt"]}, 100, cut, 3)
    (verdict,) = verdicts(replace(figures, tokens=tokens))
    assert verdict.options == ("--max-length", "400")  # four characters a token
    assert "10 % of pairs are cut at cutoff_len 100" in verdict.sentence


def test_near_prompts_with_other_responses_are_not_said_to_be_fixed_by_dedupe() -> None:
    text = "Explain in a few words to a child of ten why the sky is blue at noon and red in the evening, {} a formula."
    heldout = [pair(text.format("with"), "It is the air.", "No idea at all.")]
    (verdict,) = verdicts(figures_of([*even(), pair(text.format("without"), "No.", "Yes, it is.")], heldout))
    assert "1 of 1" in verdict.sentence and "nearly" in verdict.sentence and verdict.options is None
    assert verdict.sentence.endswith("makes the evaluation optimistic"), "all of them: that is not slightly"


def test_duplicates_and_leaks_are_named() -> None:
    rows = even()
    figures = figures_of(rows + rows[:20], [rows[3], pair("Is the moon made of cheese?", "No, of rock.", "Yes!")])
    assert figures.duplicates.exact == 20 and figures.duplicates.near == 0
    assert figures.overlap is not None
    assert (figures.overlap.exact, figures.overlap.near) == (1, 0)
    assert ["1 of 2 held-out" in figures.verdicts[0], "--dedupe" in figures.verdicts[1]] == [True, True]


def test_near_duplicates_are_counted_apart() -> None:
    long = "Tell me in a few plain sentences how a bird builds its house in a tree near the river, step by step"
    rows = [
        *even(),
        pair(long, "First it looks for a place.", "No."),
        pair(long + ".", "First it LOOKS for a place.", "No"),
    ]
    duplicates = figures_of(rows).duplicates
    assert (duplicates.exact, duplicates.near) == (0, 1)


CHINESE, ENGLISH = "请解释一下第 {} 个问题的含义", "Please explain to me what the question of number {} means"


def mixed(*counts: tuple[str, str, int]) -> list[Example]:
    """So many pairs with such a question and such a chosen answer."""
    rows = [(question, answer) for question, answer, count in counts for _ in range(count)]
    return [pair(q.format(n), f"{a.format(n)} {n}", f"{a.format(n + 1)}") for n, (q, a) in enumerate(rows)]


def language_advice(rows: list[Example]) -> tuple[str, ...] | None:
    found = [verdict.options for verdict in verdicts(figures_of(rows)) if "--lang" in verdict.sentence]
    return found[0] if found else None


@pytest.mark.parametrize(
    "share, advised", [(0.005, False), (0.03, False), (0.031, True), (0.045, True), (0.06, False), (0.2, False)]
)
def test_few_strays_of_another_language_are_named_and_a_second_language_is_not(share: float, advised: bool) -> None:
    few = round(1000 * share)
    rows = mixed((ENGLISH, ENGLISH, 1000 - few), (CHINESE, CHINESE, few))
    assert language_advice(rows) == (("--lang", "en") if advised else None)


def test_many_languages_of_few_rows_each_are_meant_to_be_there() -> None:
    words = {
        "de": "Schreibe ein kurzes Gedicht über das Meer und erkläre, was es bedeutet, {}",
        "fr": "Écris un court poème sur la mer et explique ce qu'il veut dire, {}",
        "es": "Escribe un poema corto sobre el mar y explica lo que significa, {}",
        "ru": "Напишите короткое стихотворение о море и объясните, что оно означает, {}",
    }
    others = [(text, text, 16) for text in words.values()]
    rows = mixed((ENGLISH, ENGLISH, 400), *others)
    assert figures_of(rows).languages.keys() == {"en", *words}
    assert language_advice(rows) is None, "14 % are no strays"
    assert language_advice(mixed((ENGLISH, ENGLISH, 400), others[0])) == ("--lang", "en")


def test_the_advice_takes_out_what_was_counted() -> None:
    """The response decides, whatever language the prompt is in, unless that asks for it."""
    both = [(ENGLISH, ENGLISH, 900), (CHINESE, CHINESE, 20), (CHINESE, ENGLISH, 10), (ENGLISH, CHINESE, 15)]
    rows = mixed(*both, ("{0} + {0}", "= {0}", 10))
    figures = figures_of(rows)
    assert figures.languages["other"] == 10
    option = language_advice(rows)
    assert option == ("--lang", "en")
    keep = Filters(lang=option[1])
    kept = [row for row in rows if keep.objection(row) is None]
    assert len(kept) == figures.languages["en"]
    assert language_advice(kept) is None and set(figures_of(kept).languages) == {"en"}


SPANISH = "La reunión del jueves se ha aplazado hasta la semana que viene, dijo el ministro {}"


@pytest.mark.parametrize(
    "prompt, asked",
    [
        ("Translate this to Spanish: the meeting on Thursday is put off, said minister {}", "en"),
        ("You are given a statement written in Spanish. Choose the most logical word. {}", "en"),
        ("把下面的句子翻译成西班牙语：星期四的会议推迟了，{}", "zh"),
        ("The meeting on Thursday is put off until next week, said minister {}", ""),
        ("Polish this text: the meeting on Thursday is put off, said minister {}", ""),
    ],
)
def test_responses_in_a_language_that_is_asked_for_are_no_strays(prompt: str, asked: str) -> None:
    rows = mixed((CHINESE if asked == "zh" else ENGLISH,) * 2 + (960,), (prompt, SPANISH, 40))
    figures, main = figures_of(rows), "zh" if asked == "zh" else "en"
    assert figures.languages == {main: 960, "es": 40}
    assert figures.requested == ({asked: {"es": 40}} if asked else {})
    assert language_advice(rows) == (None if asked else ("--lang", "en"))
    for code, kept in ((main, 1000 if asked else 960), ("es", 40), ("fr", 0)):
        assert sum(Filters(lang=code).objection(row) is None for row in rows) == kept


def test_a_word_a_number_or_code_is_in_the_language_of_its_prompt() -> None:
    for answer in ("63", "Option", "x = 7"):
        assert response_language(pair(ENGLISH, answer, "no")) == "en"
        assert response_language(pair(CHINESE, answer, "no")) == "zh"


def test_an_overlap_is_told_plainly_and_how_to_fix_it() -> None:
    rows = even()
    (verdict,) = verdicts(figures_of(rows, [rows[3], pair("Is the moon made of cheese?", "No, of rock.", "Yes!")]))
    assert verdict.sentence.startswith("1 of 2 held-out rows have the prompt of a training row")
    assert verdict.options == (), "it is enough to import the data again"


def test_which_rows_to_leave_out_is_not_said_of_a_view() -> None:
    rows = even()
    figures = figures_of(rows + rows[:20])
    assert any("--dedupe" in verdict.sentence for verdict in verdicts(figures))
    assert verdicts(replace(figures, view_of="a")) == []
    (verdict,) = verdicts(replace(figures, view_of="a", outdated=True))
    assert "earlier a" in verdict.sentence


@pytest.mark.parametrize("count, options", [(4, ()), (5, ("--keep-good",))])
def test_bad_rows_are_named_and_how_they_are_left_out(count: int, options: tuple[str, ...]) -> None:
    bad = [BadRows("chosen is empty", count, ["line 1"])]
    (verdict,) = verdicts(replace(figures_of(even()), bad=bad, rows_read=404))
    assert verdict.options == options
    assert f"{count} of 404 rows" in verdict.sentence and "chosen is empty" in verdict.sentence


@pytest.mark.parametrize(
    "part, text", [(0.1234, "12 %"), (0.0123, "1.2 %"), (1, "100 %"), (0, "0 %"), (0.00012, "0.012 %")]
)
def test_percent(part: float, text: str) -> None:
    assert percent(part) == text
