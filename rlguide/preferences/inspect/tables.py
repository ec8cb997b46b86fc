"""The figures as tables of text, the same for the screen and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rlguide.preferences.inspect.figures import Figures, Quantiles, Tokens
from rlguide.preferences.inspect.verdicts import percent

LANGUAGES = 6  # that are named


@dataclass(frozen=True)
class Table:
    """Rows under column names; `note` says what the figures were computed on or what they mean."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def tables(figures: Figures) -> list[Table]:
    """All tables of these figures."""
    found = [_overview(figures), _lengths("Length in characters", figures.lengths, f"all {figures.rows:,} rows")]
    if figures.tokens is not None:
        found.append(_tokens(figures.tokens))
    if figures.margins is not None:
        spread = {"chosen minus rejected": figures.margins.spread}
        found.append(_lengths("Score margin", spread, f"{figures.margins.spread.rows:,} pairs that have scores"))
    if figures.refused:
        rows = [(reason, f"{count:,}") for reason, count in figures.refused.items()]
        found.append(Table("Left out when it was registered", ("reason", "rows"), rows))
    return found


def _overview(figures: Figures) -> Table:
    unit = "pairs" if figures.kind == "pairs" else "labelled answers"
    every = f"all {figures.rows:,} rows"
    rows = [(unit, f"{figures.rows:,}", "for training")]
    if figures.heldout:
        rows.append(("held out", f"{figures.heldout_rows:,}", figures.heldout))
    if figures.desirable is not None and figures.rows:
        rows.append(("desirable", _part(figures.desirable, figures.rows), every))
    rows.append(("languages", _languages(figures), _of(figures.languages_rows, figures.rows)))
    rows.append(("turns", _turns(figures), f"questions in a row, {every}"))
    systems = f"{figures.systems:,} different" if figures.system else every
    rows.append(("system prompt", _part(figures.system, figures.rows), systems))
    bias = figures.length_bias
    if bias is not None:
        longer = bias.longer
        interval = f"95 % interval {100 * longer.low:.1f} to {100 * longer.high:.1f} %; shorter {bias.shorter:,}"
        rows.append(("chosen is longer", _part(longer.count, longer.rows), f"{interval}, equal {bias.equal:,}"))
        ratio = f"{bias.mean_ratio:.2f} of the means, {bias.median_ratio:.2f} median of the pairs"
        rows.append(("length ratio", ratio, "chosen / rejected, in characters"))
    if figures.tokens is None:
        rows.append(("tokens", "not counted", "with an engine: --model, the SFT checkpoint or base model"))
    if figures.margins is not None:
        scored = figures.margins.spread.rows
        rows.append(("score ties", _part(figures.margins.ties, scored), f"{scored:,} pairs that have scores"))
        rows.append(("rejected scored higher", _part(figures.margins.negative, scored), ""))
    rows += _repeats(figures)
    return Table(figures.dataset, ("", "", "computed on"), rows)


def _repeats(figures: Figures) -> list[tuple[str, str, str]]:
    repeats = figures.repeats
    near_of = _of(repeats.near_rows, repeats.rows)
    rows = [
        (
            "exact repeats",
            _part(repeats.exact, repeats.rows),
            f"prompt and answers, as they stand; all {repeats.rows:,} rows",
        ),
        (
            "near repeats",
            _part(repeats.near, repeats.near_rows),
            f"one word in ten differs at most, or only case and marks; {near_of}",
        ),
        ("prompts seen before", _part(repeats.prompts, repeats.rows), "no fault if the answers are others"),
    ]
    overlap = figures.overlap
    if overlap is not None:
        rows.append(("held-out prompts in training", _part(overlap.exact, overlap.rows), "must be 0"))
        close = f"compared with {_of(overlap.near_rows, figures.rows)}"
        rows.append(("nearly so", _part(overlap.near, overlap.rows), close))
    ifeval = figures.ifeval
    if ifeval is None:
        rows.append(("IFEval prompts", "not checked", "its prompts are not on this machine: --ifeval FILE"))
    else:
        checked = f"a run of 13 words in common, {_of(repeats.near_rows, figures.rows)}"
        rows.append(("IFEval prompts", _part(ifeval.hits, ifeval.rows), checked))
    return rows


def _lengths(title: str, lengths: dict[str, Quantiles], note: str) -> Table:
    columns = ("", "least", "5 %", "25 %", "median", "75 %", "95 %", "99 %", "most", "mean")
    rows = []
    for name, spread in lengths.items():
        points = (spread.least, spread.p5, spread.p25, spread.median, spread.p75, spread.p95, spread.p99, spread.most)
        rows.append((name, *map(number, (*points, spread.mean))))
    return Table(title, columns, rows, note)


def _tokens(tokens: Tokens) -> Table:
    table = _lengths("Length in tokens", tokens.lengths, "")
    cut = f"cutoff_len {tokens.cutoff_len} cuts {percent(tokens.cut.share)} of them"
    interval = f"95 % interval {100 * tokens.cut.low:.1f} to {100 * tokens.cut.high:.1f} %"
    lost = f", {tokens.answer_cut:,} in an answer" if tokens.answer_cut else ""
    note = f"{tokens.rows:,} rows at random, {tokens.model}, template {tokens.template}; {cut} ({interval}){lost}"
    return Table(table.title, table.columns, table.rows, note)


def number(value: float) -> str:
    """A length or a score: whole from 100 on or where it is whole, else with two decimals."""
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:,.2f}"


def _part(count: int, rows: int) -> str:
    return f"{count:,} ({percent(count / rows)})" if rows and count else f"{count:,}"


def _of(rows: int, every: int) -> str:
    return f"all {every:,} rows" if rows >= every else f"{rows:,} rows at random of {every:,}"


def _languages(figures: Figures) -> str:
    named = list(figures.languages.items())
    total = max(1, figures.languages_rows)
    parts = [f"{code} {percent(count / total)}" for code, count in named[:LANGUAGES]]
    return ", ".join(parts) + (f", {len(named) - LANGUAGES} more" if len(named) > LANGUAGES else "")


def _turns(figures: Figures) -> str:
    counted = figures.turns
    more = sum(count for turns, count in counted.items() if turns > 3)
    parts = [f"{turns}: {percent(count / max(1, figures.rows))}" for turns, count in counted.items() if turns <= 3]
    return ", ".join(parts + ([f"more: {percent(more / figures.rows)} (at most {max(counted)})"] if more else []))
