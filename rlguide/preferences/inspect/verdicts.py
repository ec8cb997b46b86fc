"""What is worth doing about a dataset, one sentence each; none if nothing is."""

from __future__ import annotations

from rlguide.preferences.inspect.figures import Figures

BIASED = 0.55  # share of longer chosen answers from which advice is given
SEEN = 0.005  # share of rows below which a finding is not worth a sentence
FOREIGN = 0.2  # a language with a larger share is meant to be there
EVEN = (0.75, 4 / 3)  # desirable to undesirable answers; outside, weights are needed (KTO, arXiv 2402.01306)


def verdicts(figures: Figures) -> list[str]:
    """The sentences for these figures, the gravest first."""
    return [*_leaks(figures), *_repeats(figures), *_lengths(figures), *_scores(figures), *_mix(figures)]


def percent(part: float) -> str:
    """0.1234 -> 12 %, 0.0123 -> 1.2 %, 0.00012 -> 0.012 %."""
    value = 100 * part
    return f"{value:.0f} %" if value >= 9.95 or value == 0 else f"{value:.2g} %"


def _leaks(figures: Figures) -> list[str]:
    found = []
    overlap = figures.overlap
    if overlap is not None and overlap.exact:
        found.append(
            f"{overlap.exact:,} of {overlap.rows:,} held-out rows ask what a training row asks, so the evaluation"
            " flatters: download or register the data again, which holds out whole prompts"
        )
    if overlap is not None and overlap.near > SEEN * overlap.rows:
        found.append(
            f"{overlap.near:,} of {overlap.rows:,} held-out prompts are nearly those of training rows: --dedupe"
            " takes such repeats out before rows are held out"
        )
    if figures.ifeval is not None and figures.ifeval.hits:
        found.append(
            f"{figures.ifeval.hits:,} training prompts overlap with {figures.ifeval.prompts} of IFEval's: do not"
            " trust an IFEval score of a model trained on them"
        )
    return found


def _repeats(figures: Figures) -> list[str]:
    repeats = figures.repeats
    exact = repeats.exact / repeats.rows if repeats.rows else 0
    near = repeats.near / repeats.near_rows if repeats.near_rows else 0
    parts = [f"{percent(exact)} exact repeats"] if exact > SEEN else []
    parts += [f"{percent(near)} near repeats"] if near > SEEN else []
    return [f"{' and '.join(parts)}: --dedupe keeps the first of each"] if parts else []


def _lengths(figures: Figures) -> list[str]:
    found = []
    tokens = figures.tokens
    if tokens is not None and tokens.cut.share > SEEN:
        of = "pairs" if figures.kind == "pairs" else "rows"
        found.append(
            f"{percent(tokens.cut.share)} of {of} are cut at cutoff_len {tokens.cutoff_len}: raise it (memory grows"
            " with it), or leave long ones out with --max-length"
        )
    bias = figures.length_bias
    if bias is not None and bias.longer.low > BIASED:
        # DPO exploits it: answers grow far beyond the data's (Park et al. 2024, arXiv 2403.19159; Singhal et al.
        # 2023, arXiv 2310.03716, for reward models).
        found.append(
            f"chosen is the longer answer in {percent(bias.longer.share)} of pairs, which teaches to be wordy:"
            " --balance-length evens it out"
        )
    elif bias is not None and bias.longer.high < 1 - BIASED:
        found.append(
            f"chosen is the longer answer in only {percent(bias.longer.share)} of pairs, which teaches to be curt:"
            " --balance-length evens it out"
        )
    return found


def _scores(figures: Figures) -> list[str]:
    margins = figures.margins
    if margins is None:
        return []
    found = []
    if margins.negative > SEEN * margins.spread.rows:
        part = percent(margins.negative / margins.spread.rows)
        found.append(f"in {part} of pairs the rejected answer has the higher score: --min-margin 0 leaves them out")
    if margins.ties > SEEN * margins.spread.rows:
        part = percent(margins.ties / margins.spread.rows)
        found.append(f"{part} of pairs are ties, which teach little: --min-margin with a number above 0 drops them")
    return found


def _mix(figures: Figures) -> list[str]:
    found = []
    total = figures.languages_rows
    known = {code: count for code, count in figures.languages.items() if code != "other"}
    main = [code for code, count in known.items() if count > FOREIGN * total]
    strays = sum(count for code, count in known.items() if code not in main)
    if total and main and strays > 2 * SEEN * total:
        few = ", ".join([code for code in known if code not in main][:5])
        found.append(
            f"{percent(strays / total)} of rows are in other languages ({few}): --lang {','.join(main)} leaves them out"
        )
    if figures.desirable is not None and figures.rows:
        ratio = figures.desirable / max(1, figures.rows - figures.desirable)
        if not EVEN[0] <= ratio <= EVEN[1]:
            found.append(
                f"{percent(figures.desirable / figures.rows)} of answers are desirable: rlguide train sets"
                " kto_chosen_weight and kto_rejected_weight for that"
            )
    return found
