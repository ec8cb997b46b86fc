"""The figures as tables of text, the same for the screen and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rlguide.data.inspect.figures import Figures, LengthBias, Quantiles, Tokens
from rlguide.data.inspect.verdicts import percent

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
    found = [_overview(figures), _lengths("Length in characters", figures.lengths, whole)]
    if figures.tokens is not None:
        found.append(_tokens(figures.tokens, figures.rows))
    if figures.margins is not None:
        scored = figures.margins.spread.rows
        note = "" if scored == figures.rows else f"of the {scored:,} pairs that have scores"
        found.append(_lengths("Score margin", {"chosen - rejected": figures.margins.spread}, number, note))
    if figures.bad:
        bad = [
            (f"{bad.rows:,}", bad.reason, ", ".join(bad.places) + ", ..." * (bad.rows > len(bad.places)))
            for bad in figures.bad
        ]
        note = f"of the {figures.rows_read:,} rows of the file"
        found.append(Table("Bad rows, which rlguide register would refuse", ("rows", "reason", "where"), bad, note))
    made = f"made of {figures.view_of}" if figures.view_of else "registered"
    by = "" if figures.view_of else "by the filters "
    for title, counts in (
        (f"Refused when it was registered (each row in data/{figures.dataset}.report.json)", figures.refused),
        (f"Left out {by}when it was {made}", figures.left_out),
    ):
        if counts:
            ordered = sorted(counts.items(), key=lambda item: -item[1])
            found.append(Table(title, ("rows", "reason"), [(f"{count:,}", reason) for reason, count in ordered]))
    return found


def _overview(figures: Figures) -> Table:
    unit = "pairs" if figures.kind == "pairs" else "labelled answers"
    use = f"held out from {figures.heldout_of}" if figures.heldout_of else "for training"
    rows = []
    if figures.heldout:
        rows.append(("held out", f"{figures.heldout_rows:,}", figures.heldout))
    if figures.desirable is not None and figures.rows:
        rows.append(("desirable", _part(figures.desirable, figures.rows), ""))
    rows.append(("languages", _languages(figures), _of(figures.languages_rows, figures.rows)))
    rows.append(("turns", _turns(figures), "questions in a conversation"))
    systems = f"{figures.systems:,} different" if figures.system else ""
    rows.append(("system prompt", _part(figures.system, figures.rows), systems))
    if figures.length_bias is not None:
        rows += _bias(figures.length_bias)
    if figures.tokens is None:
        rows.append(("tokens", "not counted", "add --model to count them"))
    if figures.margins is not None:
        scored = figures.margins.spread.rows
        of = "" if scored == figures.rows else f"of {scored:,} pairs that have scores"
        rows.append(("equal scores", _part(figures.margins.ties, scored), of))
        rows.append(("rejected scored higher", _part(figures.margins.negative, scored), of))
    rows += _repeats(figures)
    head = (unit, f"{figures.rows:,}", use)
    return Table(figures.dataset, head, rows, f"all {figures.rows:,} rows, where nothing else is said")


def _bias(bias: LengthBias) -> list[tuple[str, str, str]]:
    rows = []
    if bias.longer is not None:
        interval = f"95 % interval {100 * bias.longer.low:.1f} to {100 * bias.longer.high:.1f} %"
        rows.append(("chosen is longer", _part(bias.longer.count, bias.longer.rows), interval))
    if bias.equal:
        every = bias.equal + (bias.longer.rows if bias.longer is not None else 0)
        rows.append(("equally long", _part(bias.equal, every), "not counted in the line above" * bool(rows)))
    ratio = f"means; median of the pairs {bias.median_ratio:.2f}"
    rows.append(("chosen / rejected length", f"{bias.mean_ratio:.2f}", ratio))
    return rows


def _repeats(figures: Figures) -> list[tuple[str, str, str]]:
    repeats = figures.repeats
    near = _joined("up to one word in ten differs", _of(repeats.near_rows, repeats.rows))
    rows = [
        ("exact repeats", _part(repeats.exact, repeats.rows), "prompt and answers the same"),
        ("near repeats", _part(repeats.near, repeats.near_rows), near),
        ("prompts seen before", _part(repeats.prompts, repeats.rows), "no fault if the answers differ"),
    ]
    overlap = figures.overlap
    if overlap is not None:
        rows.append(("held out and in training", _part(overlap.exact, overlap.rows), "prompts; must be 0"))
        close = "" if overlap.near_rows >= figures.rows else f"of {_of(overlap.near_rows, figures.rows)}"
        rows.append(("nearly so", _part(overlap.near, overlap.rows), _joined("up to one word in ten differs", close)))
    ifeval = figures.ifeval
    if ifeval is None:
        rows.append(("IFEval prompts", "not checked", "add --ifeval hub (or FILE) to look"))
    else:
        checked = _joined("a run of 13 words in common", _of(repeats.near_rows, figures.rows))
        rows.append(("IFEval prompts", _part(ifeval.hits, ifeval.rows), checked))
    return rows


def _lengths(title: str, lengths: dict[str, Quantiles], form: Callable[[float], str], note: str = "") -> Table:
    columns = ("", "least", "5 %", "25 %", "median", "75 %", "95 %", "99 %", "most", "mean")
    rows = []
    for name, spread in lengths.items():
        points = (spread.least, spread.p5, spread.p25, spread.median, spread.p75, spread.p95, spread.p99, spread.most)
        rows.append((name, *map(form, (*points, spread.mean))))
    return Table(title, columns, rows, note)


def _tokens(tokens: Tokens, every: int) -> Table:
    table = _lengths("Length in tokens", tokens.lengths, whole)
    cut = f"cutoff_len {tokens.cutoff_len} cuts {percent(tokens.cut.share)} of them"
    some = tokens.rows < every
    interval = f" (95 % interval {100 * tokens.cut.low:.1f} to {100 * tokens.cut.high:.1f} %)" if some else ""
    lost = f", {tokens.answer_cut:,} in an answer" if tokens.answer_cut else ""
    rows = _of(tokens.rows, every) or f"all {every:,} rows"
    note = f"{rows}, {tokens.model}, template {tokens.template}; {cut}{interval}{lost}"
    return Table(table.title, table.columns, table.rows, note)


def whole(value: float) -> str:
    """A length in characters or tokens."""
    return f"{value:,.0f}"


def number(value: float) -> str:
    """A score: whole from 100 on or where it is whole, else with two decimals."""
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:,.2f}"


def _part(count: int, rows: int) -> str:
    return f"{count:,} ({percent(count / rows)})" if rows and count else f"{count:,}"


def _of(rows: int, every: int) -> str:
    """What a figure was computed on, "" for all rows."""
    return "" if rows >= every else f"{rows:,} rows at random"


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))


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
