"""What is worth doing about a dataset, one sentence each; none if nothing is."""

from __future__ import annotations

import math
from typing import NamedTuple

from rlguide.data.curate.language import OTHER
from rlguide.data.ingest.pipeline import MOST_REFUSED
from rlguide.data.inspect.figures import Figures, LengthBias, Margins, Tokens

BIASED = 0.55  # share of longer chosen answers from which advice is given
SURPLUS = 0.05  # share of all pairs that the longer ones must be ahead by: where most are equal it matters little
SEEN = 0.005  # share of rows below which a finding is not worth a sentence
FEW = 0.05  # share of held-out rows up to which what is wrong with them changes a figure little
STRAY = 0.05  # share of rows up to which those in other languages are strays; with more they are meant to be there
USEFUL = 0.2  # share of the pairs that --balance-length must leave to be worth a thought
MOST_CUT = 0.2  # share of rows that a printed command may leave out for their length
EVEN = (0.75, 4 / 3)  # desirable to undesirable answers; outside, weights are needed (KTO, arXiv 2402.01306)


class Verdict(NamedTuple):
    """A sentence, and the options of `register` and `download` that do what it advises.

    None: nothing of that kind helps; (): to take the data in again is enough.
    """

    sentence: str
    options: tuple[str, ...] | None = None


def verdicts(figures: Figures) -> list[Verdict]:
    """What there is to say about these figures, the gravest first.

    Of a view that is out of date only that. Which rows to leave out is said about the pairs that a view is made of.
    """
    if figures.outdated:
        what = (
            f"made of an earlier {figures.view_of}, which has changed since or is gone: prompts that are held out now"
            " may be among these. Make it again before you train on it"
        )
        return [Verdict(what)]
    found = [*_leaks(figures), *_bad(figures)]
    if figures.view_of is None:
        found += _repeats(figures)
    found += [*_lengths(figures), *_scores(figures)]
    if figures.view_of is None:
        found += _languages(figures)
    return [*found, *_labels(figures)]


def percent(part: float) -> str:
    """0.1234 -> 12 %, 0.0123 -> 1.2 %, 0.00012 -> 0.012 %."""
    value = 100 * part
    return f"{value:.0f} %" if value >= 9.95 or value == 0 else f"{value:.2g} %"


def _leaks(figures: Figures) -> list[Verdict]:
    found = []
    overlap = figures.overlap
    if overlap is not None and overlap.exact:
        what = (
            f"{overlap.exact:,} of {overlap.rows:,} held-out rows ask what a training row asks, and none may: what is"
            " measured on them is memory, not skill. Do not evaluate on them; take the data in again with rlguide,"
            " which holds out whole prompts"
        )
        found.append(Verdict(what, ()))
    if overlap is not None and overlap.near > SEEN * overlap.rows:
        what = f"{overlap.near:,} of {overlap.rows:,} held-out prompts are nearly those of training rows"
        if _repeated(figures):
            found.append(Verdict(f"{what}: --dedupe takes out those with nearly the same answers", ("--dedupe",)))
        else:
            little = " a little" if overlap.near <= FEW * overlap.rows else ""
            found.append(Verdict(f"{what}: the evaluation flatters{little}"))
    if figures.ifeval is not None and figures.ifeval.hits and figures.heldout_of is None:
        what = (
            f"{figures.ifeval.hits:,} training prompts overlap with {figures.ifeval.prompts} of IFEval's: do not"
            " trust an IFEval score of a model trained on them"
        )
        found.append(Verdict(what))
    return found


def _bad(figures: Figures) -> list[Verdict]:
    count, read = sum(bad.rows for bad in figures.bad), figures.rows_read or figures.rows
    if not count:
        return []
    what = (
        f"{count:,} of {read:,} rows ({percent(count / read)}) are bad, most often: {figures.bad[0].reason}. rlguide"
        " register leaves them out and names each"
    )
    return [Verdict(what, ("--keep-good",) if count > MOST_REFUSED * read else ())]


def _repeated(figures: Figures) -> list[str]:
    repeats = figures.repeats
    exact = repeats.exact / repeats.rows if repeats.rows else 0
    near = repeats.near / repeats.near_rows if repeats.near_rows else 0
    parts = [f"{percent(exact)} exact repeats"] if exact > SEEN else []
    return parts + ([f"{percent(near)} near repeats"] if near > SEEN else [])


def _repeats(figures: Figures) -> list[Verdict]:
    parts = _repeated(figures)
    return [Verdict(f"{' and '.join(parts)}: --dedupe keeps the first of each", ("--dedupe",))] if parts else []


def _lengths(figures: Figures) -> list[Verdict]:
    found = []
    tokens = figures.tokens
    if tokens is not None and tokens.cut.share > SEEN:
        of = "pairs" if figures.kind == "pairs" else "rows"
        longest = _characters(figures, tokens)
        what = (
            f"{percent(tokens.cut.share)} of {of} are cut at cutoff_len {tokens.cutoff_len}: raise it (memory grows"
            f" with it), or leave long ones out with --max-length {longest} (characters, about as many as fit)"
        )
        few = tokens.cut.share <= MOST_CUT
        found.append(
            Verdict(what if few else f"{what}, which are most of them", ("--max-length", str(longest)) if few else None)
        )
    if figures.length_bias is not None:
        found += _bias(figures.length_bias)
    return found


def _characters(figures: Figures, tokens: Tokens) -> int:
    """About the characters that make `cutoff_len` tokens, by the means of this dataset, in two digits."""
    names = figures.lengths.keys() & tokens.lengths.keys()
    letters = sum(figures.lengths[name].mean for name in names)
    return max(1, int(_rounded_down(tokens.cutoff_len * letters / sum(tokens.lengths[name].mean for name in names))))


def _bias(bias: LengthBias) -> list[Verdict]:
    longer = bias.longer
    if longer is None or abs(longer.count - bias.shorter) <= SURPLUS * (longer.rows + bias.equal):
        return []
    # DPO exploits it: answers grow far beyond the data's (Park et al. 2024, arXiv 2403.19159; Singhal et al. 2023,
    # arXiv 2310.03716, for reward models).
    if longer.low > BIASED:
        how, taught = f"in {percent(longer.share)}", "wordy"
    elif longer.high < 1 - BIASED:
        how, taught = f"in only {percent(longer.share)}", "curt"
    else:
        return []
    pairs = longer.rows + bias.equal
    of = "pairs" if bias.equal <= SEEN * pairs else "pairs whose answers differ in length"
    what = f"chosen is the longer answer {how} of {of}, which teaches to be {taught}"
    left = bias.balanced - bias.equal
    if left < USEFUL * longer.rows:
        few = f"too few go the other way for --balance-length, which would leave {bias.balanced:,} of {pairs:,} pairs"
        return [Verdict(f"{what}; {few} (--method simpo divides by the length and suffers less)")]
    even = f"--balance-length evens it out and alone leaves {bias.balanced:,} of {pairs:,} pairs"
    return [Verdict(f"{what}: {even}", ("--balance-length",))]


def _scores(figures: Figures) -> list[Verdict]:
    margins = figures.margins
    if margins is None:
        return []
    scored = margins.spread.rows
    negative, ties = margins.negative > SEEN * scored, margins.ties > SEEN * scored
    least = _least_margin(margins) if ties else "0"
    options = ("--min-margin", least)
    too = f", and the {figures.rows - scored:,} pairs without scores" if figures.rows > scored else ""
    found = []
    if negative:
        part = percent(margins.negative / scored)
        what = f"in {part} of pairs the rejected answer has the higher score: --min-margin {least} leaves them out{too}"
        found.append(Verdict(what, options))
    if ties:
        part = percent(margins.ties / scored)
        what = f"{part} of pairs have equal scores, which teach little: --min-margin {least} leaves them out{too}"
        found.append(Verdict(what, options))
    return found


def _least_margin(margins: Margins) -> str:
    """A margin above 0 that leaves out ties and nothing else, as one would type it."""
    return f"{_rounded_down(margins.least):.15g}" if margins.least is not None else "0.01"


def _rounded_down(value: float) -> float:
    """The largest number of two digits that is not above `value`, which is above 0."""
    if value < 1e-9:
        return value
    digits = 1 - math.floor(math.log10(value))
    rounded = math.floor(value * 10.0**digits) / 10.0**digits
    return rounded if rounded <= value else value


def _languages(figures: Figures) -> list[Verdict]:
    total = figures.languages_rows
    known = {code: count for code, count in figures.languages.items() if code != OTHER}
    strays = {code: count for code, count in known.items() if count <= STRAY * total}
    main = [code for code in known if code not in strays]
    few = sum(strays.values())
    if not main or not 2 * SEEN * total < few <= STRAY * total:
        return []
    option, unknown = ",".join(main), figures.languages.get(OTHER, 0)
    too = f", and the {percent(unknown / total)} whose language cannot be told" if unknown else ""
    what = (
        f"{percent(few / total)} of rows are in other languages ({', '.join([*strays][:5])}): --lang {option} leaves"
        f" them out{too}"
    )
    return [Verdict(what, ("--lang", option))]


def _labels(figures: Figures) -> list[Verdict]:
    if figures.desirable is None or not figures.rows:
        return []
    ratio = figures.desirable / max(1, figures.rows - figures.desirable)
    if EVEN[0] <= ratio <= EVEN[1]:
        return []
    what = (
        f"{percent(figures.desirable / figures.rows)} of answers are desirable: rlguide train sets"
        " kto_chosen_weight and kto_rejected_weight for that"
    )
    return [Verdict(what)]
