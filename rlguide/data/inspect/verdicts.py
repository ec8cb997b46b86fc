"""What is worth doing about a dataset, one sentence each; none if nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import ROUND_DOWN, Context
from typing import NamedTuple

from rlguide.data.curate.language import OTHER
from rlguide.data.ingest.pipeline import MAX_INVALID
from rlguide.data.inspect.figures import Figures, LengthBias, Tokens

BIASED = 0.55  # proportion of longer chosen responses from which advice is given
SURPLUS = 0.05  # part of all pairs that the longer ones must be ahead by: where most are equal it matters little
SEEN = 0.005  # part of the rows below which a finding is not worth a sentence
FEW = 0.05  # part of the held-out rows up to which what is wrong with them changes a figure little
STRAY = 0.05  # part of the rows up to which those in other languages are strays; with more they are meant to be there
# Part of the rows from which on strays are worth a sentence: fewer may be errors in telling the language, which of 600
# texts of two short sentences are 17 (`curate.language`).
MISTAKEN = 0.03
USEFUL = 0.2  # part of the pairs that --balance-length must leave to be worth a thought
MOST_CUT = 0.2  # part of the rows that a printed command may drop for their length
EVEN = (0.75, 4 / 3)  # desirable to undesirable responses; outside, weights are needed (KTO, arXiv 2402.01306)
TWO_DIGITS = Context(prec=2, rounding=ROUND_DOWN)


class Verdict(NamedTuple):
    """A sentence, and the options of `register` and `download` that do what it advises.

    None: no option helps; (): to import the data again is enough.
    """

    sentence: str
    options: tuple[str, ...] | None = None


def verdicts(figures: Figures) -> list[Verdict]:
    """What there is to say about these figures, the gravest first.

    Of a view that is out of date only that. Which rows to drop is said about the pairs that a view is made from.
    """
    if figures.outdated:
        what = (
            f"made from an earlier {figures.view_of}, which has changed since or is gone: prompts that are held out"
            " now may be in it. Make the view again before you train on it"
        )
        return [Verdict(what)]
    is_view = figures.view_of is not None
    return [
        *_leaks(figures),
        *_bad(figures),
        *(() if is_view else _duplicates(figures)),
        *_lengths(figures),
        *_scores(figures),
        *(() if is_view else _languages(figures)),
        *_labels(figures),
    ]


def percent(part: float) -> str:
    """0.1234 -> 12 %, 0.0123 -> 1.2 %, 0.00012 -> 0.012 %."""
    value = 100 * part
    return f"{value:.0f} %" if value >= 9.95 or value == 0 else f"{value:.2g} %"


def _leaks(figures: Figures) -> Iterator[Verdict]:
    overlap, ifeval, instructions = figures.overlap, figures.ifeval, figures.instructions
    if overlap is not None and overlap.exact:
        what = (
            f"{overlap.exact:,} of {overlap.rows:,} held-out rows have the prompt of a training row: an evaluation on"
            " them measures memory. Do not evaluate on them; import the data again with rlguide, which holds out whole"
            " prompts"
        )
        yield Verdict(what, ())
    if overlap is not None and overlap.near > SEEN * overlap.rows:
        what = f"{overlap.near:,} of {overlap.rows:,} held-out prompts are nearly the same as training prompts"
        if _found_duplicates(figures):
            yield Verdict(f"{what}: --dedupe drops those with nearly the same responses", ("--dedupe",))
        else:
            little = "slightly " if overlap.near <= FEW * overlap.rows else ""
            yield Verdict(f"{what}, which makes the evaluation {little}optimistic")
    if ifeval is not None and ifeval.hits and figures.heldout_of is None:
        yield Verdict(
            f"{ifeval.hits:,} training prompts overlap with {ifeval.prompts} of IFEval's: do not trust an IFEval score"
            " of a model trained on them"
        )
    if instructions is not None and instructions.hits and figures.heldout_of is None:
        yield Verdict(
            f"{instructions.hits:,} training prompts overlap with {instructions.prompts} of the bundled prompts with"
            " instructions: do not trust what an evaluation on those says of a model trained on them"
        )


def _bad(figures: Figures) -> Iterator[Verdict]:
    count, read = sum(bad.rows for bad in figures.bad), figures.rows_read or figures.rows
    if count:
        what = f"{count:,} of {read:,} rows ({percent(count / read)}) are bad, most often: {figures.bad[0].reason}"
        options = ("--keep-good",) if count > MAX_INVALID * read else ()
        yield Verdict(f"{what}. rlguide register drops them and reports each", options)


def _found_duplicates(figures: Figures) -> list[str]:
    found = figures.duplicates
    exact, near = found.exact / max(1, found.rows), found.near / max(1, found.near_rows)
    return [f"{percent(part)} {kind} duplicates" for part, kind in ((exact, "exact"), (near, "near")) if part > SEEN]


def _duplicates(figures: Figures) -> Iterator[Verdict]:
    if parts := _found_duplicates(figures):
        yield Verdict(f"{' and '.join(parts)}: --dedupe keeps the first of each", ("--dedupe",))


def _lengths(figures: Figures) -> Iterator[Verdict]:
    tokens, bias = figures.tokens, figures.length_bias
    if tokens is not None and tokens.cut.value > SEEN:
        longest = _characters(figures, tokens)
        few = tokens.cut.value <= MOST_CUT
        of = "pairs" if figures.kind == "pairs" else "rows"
        what = (
            f"{percent(tokens.cut.value)} of {of} are cut at cutoff_len {tokens.cutoff_len}: raise it, which takes more"
            f" memory, or drop long {of} with --max-length {longest} (characters, about as many as fit)"
        )
        yield Verdict(what, ("--max-length", str(longest))) if few else Verdict(f"{what}, which are many")
    if bias is not None:
        yield from _bias(bias)


def _characters(figures: Figures, tokens: Tokens) -> int:
    """About the characters that make `cutoff_len` tokens, by the means of this dataset, in two digits."""
    names = figures.lengths.keys() & tokens.lengths.keys()
    letters = sum(figures.lengths[name].mean for name in names)
    return max(1, int(_rounded_down(tokens.cutoff_len * letters / sum(tokens.lengths[name].mean for name in names))))


def _bias(bias: LengthBias) -> Iterator[Verdict]:
    longer = bias.longer
    if longer is None or abs(longer.hits - bias.shorter) <= SURPLUS * (longer.n + bias.equal):
        return
    # DPO exploits it: responses grow far beyond the data's (Park et al. 2024, arXiv 2403.19159; Singhal et al. 2023,
    # arXiv 2310.03716, for reward models).
    if longer.low > BIASED:
        how, taught = f"in {percent(longer.value)}", "wordy"
    elif longer.high < 1 - BIASED:
        how, taught = f"in only {percent(longer.value)}", "curt"
    else:
        return
    pairs = longer.n + bias.equal
    of = "pairs" if bias.equal <= SEEN * pairs else "pairs whose responses differ in length"
    what = f"chosen is the longer response {how} of {of}, which teaches the model to be {taught}"
    left = f"{bias.balanced:,} of {pairs:,} pairs"
    if bias.balanced - bias.equal < USEFUL * longer.n:
        few = f"too few go the other way for --balance-length, which would leave {left}"
        yield Verdict(f"{what}; {few} (--method simpo divides by the length and suffers less)")
    else:
        yield Verdict(f"{what}: --balance-length evens it out and by itself leaves {left}", ("--balance-length",))


def _scores(figures: Figures) -> Iterator[Verdict]:
    margins = figures.margins
    if margins is None:
        return
    scored = margins.spread.rows
    negative, ties = margins.negative / scored, margins.ties / scored
    # Above 0, so that it drops ties and nothing else, as one would type it.
    least = f"{_rounded_down(margins.smallest_positive or 0.01):.15g}" if ties > SEEN else "0"
    too = f", and the {figures.rows - scored:,} pairs without scores" if figures.rows > scored else ""
    drops = f"--min-margin {least} drops them{too}"
    options = ("--min-margin", least)
    if negative > SEEN:
        yield Verdict(f"in {percent(negative)} of pairs the rejected response has the higher score: {drops}", options)
    if ties > SEEN:
        yield Verdict(f"{percent(ties)} of pairs have equal scores, which teach little: {drops}", options)


def _rounded_down(value: float) -> float:
    """The largest number of two digits that is not above `value`, which is above 0."""
    return float(TWO_DIGITS.create_decimal(repr(value)))


def _languages(figures: Figures) -> Iterator[Verdict]:
    total = figures.languages_rows
    known = {code: count for code, count in figures.languages.items() if code != OTHER}
    strays = {code: count for code, count in known.items() if count <= STRAY * total}
    main = [code for code in known if code not in strays]
    for asked in main:  # what is asked for is no stray, and --lang keeps it
        for code in strays.keys() & figures.requested.get(asked, {}).keys():
            strays[code] -= figures.requested[asked][code]
    strays = {code: count for code, count in strays.items() if count > 0}
    few, option = sum(strays.values()), ",".join(main)
    if main and MISTAKEN * total < few <= STRAY * total:
        unknown = figures.languages.get(OTHER, 0)
        too = f", and the {percent(unknown / total)} whose language cannot be told" if unknown else ""
        what = f"{percent(few / total)} of responses are in a language that the prompt does not ask for"
        drops = f"look at some; --lang {option} drops them{too}"
        yield Verdict(f"{what} ({', '.join([*strays][:5])}): {drops}", ("--lang", option))


def _labels(figures: Figures) -> Iterator[Verdict]:
    if figures.desirable is None or not figures.rows:
        return
    ratio = figures.desirable / max(1, figures.rows - figures.desirable)
    if not EVEN[0] <= ratio <= EVEN[1]:
        part = percent(figures.desirable / figures.rows)
        yield Verdict(
            f"{part} of responses are desirable: `rlguide train` sets kto_chosen_weight and kto_rejected_weight for"
            " that"
        )
