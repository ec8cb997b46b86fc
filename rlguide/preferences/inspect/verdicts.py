"""What is worth doing about a dataset, one sentence each; none if nothing is."""

from __future__ import annotations

import math
from typing import NamedTuple

from rlguide.preferences.inspect.figures import Figures, LengthBias, Margins, Tokens

BIASED = 0.55  # share of longer chosen answers from which advice is given
SURPLUS = 0.05  # share of all pairs that the longer ones must be ahead by: where most are equal it matters little
SEEN = 0.005  # share of rows below which a finding is not worth a sentence
FOREIGN = 0.2  # a language with a larger share is meant to be there
EVEN = (0.75, 4 / 3)  # desirable to undesirable answers; outside, weights are needed (KTO, arXiv 2402.01306)


class Verdict(NamedTuple):
    """A sentence, and the options of `register` and `download` that do what it advises.

    None: nothing of that kind helps; (): to take the data in again is enough.
    """

    sentence: str
    options: tuple[str, ...] | None = None


def verdicts(figures: Figures) -> list[Verdict]:
    """What there is to say about these figures, the gravest first."""
    return [*_leaks(figures), *_repeats(figures), *_lengths(figures), *_scores(figures), *_mix(figures)]


def percent(part: float) -> str:
    """0.1234 -> 12 %, 0.0123 -> 1.2 %, 0.00012 -> 0.012 %."""
    value = 100 * part
    return f"{value:.0f} %" if value >= 9.95 or value == 0 else f"{value:.2g} %"


def _leaks(figures: Figures) -> list[Verdict]:
    found = []
    overlap = figures.overlap
    if overlap is not None and overlap.exact:
        what = (
            f"{overlap.exact:,} of {overlap.rows:,} held-out rows ask what a training row asks, so the evaluation"
            " flatters: take the data in again, which holds out whole prompts"
        )
        found.append(Verdict(what, ()))
    if overlap is not None and overlap.near > SEEN * overlap.rows:
        what = f"{overlap.near:,} of {overlap.rows:,} held-out prompts are nearly those of training rows"
        if _repeated(figures):
            found.append(Verdict(f"{what}: --dedupe takes out those with nearly the same answers", ("--dedupe",)))
        else:
            found.append(Verdict(f"{what}, with other answers: the evaluation flatters a little"))
    if figures.ifeval is not None and figures.ifeval.hits and figures.heldout_of is None:
        what = (
            f"{figures.ifeval.hits:,} training prompts overlap with {figures.ifeval.prompts} of IFEval's: do not"
            " trust an IFEval score of a model trained on them"
        )
        found.append(Verdict(what))
    return found


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
        found.append(Verdict(what, ("--max-length", str(longest))))
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
    few = bias.equal <= SEEN * (longer.rows + bias.equal)
    of = "pairs" if few else "pairs whose answers differ in length"
    what = f"chosen is the longer answer {how} of {of}, which teaches to be {taught}: --balance-length evens it out"
    return [Verdict(what, ("--balance-length",))]


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


def _mix(figures: Figures) -> list[Verdict]:
    found = []
    total = figures.languages_rows
    known = {code: count for code, count in figures.languages.items() if code != "other"}
    main = [code for code, count in known.items() if count > FOREIGN * total]
    strays = sum(count for code, count in known.items() if code not in main)
    if total and main and strays > 2 * SEEN * total:
        few = ", ".join([code for code in known if code not in main][:5])
        option = ",".join(main)
        what = f"{percent(strays / total)} of rows are in other languages ({few}): --lang {option} leaves them out"
        found.append(Verdict(what, ("--lang", option)))
    if figures.desirable is not None and figures.rows:
        ratio = figures.desirable / max(1, figures.rows - figures.desirable)
        if not EVEN[0] <= ratio <= EVEN[1]:
            what = (
                f"{percent(figures.desirable / figures.rows)} of answers are desirable: rlguide train sets"
                " kto_chosen_weight and kto_rejected_weight for that"
            )
            found.append(Verdict(what))
    return found
