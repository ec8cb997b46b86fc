"""The figures as tables of text, the same for the screen and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace

from rlguide.data.inspect.examples import shortened
from rlguide.data.inspect.figures import Figures, LengthBias, Margins, Quantiles, Tokens
from rlguide.data.inspect.verdicts import percent
from rlguide.statistics import Proportion

LANGUAGES = 6  # that are named
NEAR = "up to one word in ten differs"

Line = tuple[str, str, str]  # label, value, note


@dataclass(frozen=True)
class Table:
    """Rows under column names; `note` says what the figures were computed on or what they mean."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    note: str = ""


def tables(figures: Figures) -> list[Table]:
    """All tables of these figures, fit to be shown: long texts shortened, control characters replaced."""
    found = [_overview(figures), _spreads("Length in characters", figures.lengths, whole)]
    if figures.tokens is not None:
        found.append(_tokens(figures.tokens, figures.rows))
    if figures.margins is not None:
        spread = {"chosen - rejected": figures.margins.spread}
        found.append(_spreads("Score margin", spread, number, _scored(figures.margins, figures.rows)))
    if figures.bad:
        places = [", ".join(bad.places) + ", ..." * (bad.rows > len(bad.places)) for bad in figures.bad]
        bad = [(f"{bad.rows:,}", bad.reason, where) for bad, where in zip(figures.bad, places, strict=True)]
        note = f"of the {figures.rows_read:,} rows of the file"
        found.append(Table("Bad rows, which rlguide register would refuse", ("rows", "reason", "where"), bad, note))
    dropped = f"when it was made from {figures.view_of}" if figures.view_of else "by the filters at registration"
    for title, counts in (
        (f"Refused at registration (each row in data/{figures.dataset}.report.json)", figures.refused),
        (f"Dropped {dropped}", figures.left_out),
    ):
        if counts:
            ordered = sorted(counts.items(), key=lambda item: -item[1])
            found.append(Table(title, ("rows", "reason"), [(f"{count:,}", reason) for reason, count in ordered]))
    return [
        replace(table, title=shortened(table.title), rows=[tuple(map(shortened, row)) for row in table.rows])
        for table in found
    ]


def _overview(figures: Figures) -> Table:
    rows: list[Line] = []
    if figures.heldout:
        rows.append(("held out", f"{figures.heldout_rows:,}", figures.heldout))
    if figures.desirable is not None and figures.rows:
        rows.append(("desirable", _part(figures.desirable, figures.rows), ""))
    rows.append(("languages", _languages(figures), _of(figures.languages_rows, figures.rows)))
    rows.append(("turns", _turns(figures), "prompts in a conversation"))
    systems = f"{figures.systems:,} different" if figures.system else ""
    rows.append(("system prompt", _part(figures.system, figures.rows), systems))
    if figures.length_bias is not None:
        rows += _bias(figures.length_bias)
    if figures.tokens is None:
        rows.append(("tokens", "not counted", "add --model to count them"))
    if figures.margins is not None:
        of = _scored(figures.margins, figures.rows)
        rows.append(("equal scores", _part(figures.margins.ties, figures.margins.spread.rows), of))
        rows.append(("rejected scored higher", _part(figures.margins.negative, figures.margins.spread.rows), of))
    rows += [*_duplicates(figures), *_overlap(figures), _ifeval(figures)]
    unit = "pairs" if figures.kind == "pairs" else "labelled responses"
    use = f"held out from {figures.heldout_of}" if figures.heldout_of else "for training"
    return Table(figures.dataset, (unit, f"{figures.rows:,}", use), rows, f"all {figures.rows:,} rows unless noted")


def _bias(bias: LengthBias) -> list[Line]:
    rows: list[Line] = []
    if bias.longer is not None:
        rows.append(("chosen is longer", _part(bias.longer.hits, bias.longer.n), _interval(bias.longer)))
    if bias.equal:
        every = bias.equal + (bias.longer.n if bias.longer is not None else 0)
        rows.append(("equally long", _part(bias.equal, every), "not counted in the line above" * bool(rows)))
    ratio = f"means; median of the pairs {bias.median_ratio:.2f}"
    return [*rows, ("chosen / rejected length", f"{bias.mean_ratio:.2f}", ratio)]


def _duplicates(figures: Figures) -> list[Line]:
    found = figures.duplicates
    return [
        ("exact duplicates", _part(found.exact, found.rows), "same prompt and responses"),
        ("near duplicates", _part(found.near, found.near_rows), _joined(NEAR, _of(found.near_rows, found.rows))),
        ("repeated prompts", _part(found.prompts, found.rows), "fine if the responses differ"),
    ]


def _overlap(figures: Figures) -> list[Line]:
    found = figures.overlap
    if found is None:
        return []
    compared = "" if found.near_rows >= figures.rows else f"of {_of(found.near_rows, figures.rows)}"
    return [
        ("held out and in training", _part(found.exact, found.rows), "prompts; must be 0"),
        ("nearly the same", _part(found.near, found.rows), _joined(NEAR, compared)),
    ]


def _ifeval(figures: Figures) -> Line:
    found = figures.ifeval
    if found is None:
        return "IFEval prompts", "not checked", "add --ifeval hub (or FILE) to check"
    checked = _joined("a run of 13 words in common", _of(found.rows, figures.rows))
    return "IFEval prompts", _part(found.hits, found.rows), checked


def _spreads(title: str, found: dict[str, Quantiles], form: Callable[[float], str], note: str = "") -> Table:
    columns = ("", "min", "5 %", "25 %", "median", "75 %", "95 %", "99 %", "max", "mean")
    return Table(title, columns, [(name, *map(form, astuple(spread)[1:])) for name, spread in found.items()], note)


def _tokens(tokens: Tokens, every: int) -> Table:
    rows = _of(tokens.rows, every) or f"all {every:,} rows"
    interval = f" ({_interval(tokens.cut)})" if tokens.rows < every else ""
    lost = f", {tokens.response_cut:,} in a response" if tokens.response_cut else ""
    cut = f"cutoff_len {tokens.cutoff_len} cuts {percent(tokens.cut.value)} of them{interval}{lost}"
    note = f"{rows}, {tokens.model}, template {tokens.template}; {cut}"
    return _spreads("Length in tokens", tokens.lengths, whole, note)


def whole(value: float) -> str:
    """A length in characters or tokens."""
    return f"{value:,.0f}"


def number(value: float) -> str:
    """A score: whole from 100 on or where it is whole, else with two decimals."""
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:,.2f}"


def _part(count: int, rows: int) -> str:
    return f"{count:,} ({percent(count / rows)})" if rows and count else f"{count:,}"


def _interval(part: Proportion) -> str:
    return f"95 % interval {100 * part.low:.1f} to {100 * part.high:.1f} %"


def _scored(margins: Margins, rows: int) -> str:
    return "" if margins.spread.rows == rows else f"of the {margins.spread.rows:,} pairs that have scores"


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
