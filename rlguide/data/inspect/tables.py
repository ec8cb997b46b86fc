"""The figures as tables of text, the same for the screen and for the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass

from rlguide.data.example import KIND_NAMES
from rlguide.data.inspect.examples import shortened
from rlguide.data.inspect.figures import Figures, Margins, Quantiles, Tokens
from rlguide.data.inspect.verdicts import percent
from rlguide.statistics import Proportion

LANGUAGES = 6  # that are named
NEAR = "up to one word in ten differs"
WHOLE = "{:,.0f}".format  # a length in characters or tokens

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
    found = [_overview(figures), _spreads("Length in characters", figures.lengths, WHOLE)]
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
            reasons = [(f"{count:,}", reason) for reason, count in Counter(counts).most_common()]
            found.append(Table(title, ("rows", "reason"), reasons))
    return [
        Table(shortened(t.title), t.columns, [tuple(map(shortened, row)) for row in t.rows], shortened(t.note))
        for t in found
    ]


def _overview(figures: Figures) -> Table:
    unit = KIND_NAMES[figures.kind]
    use = f"held out from {figures.heldout_of}" if figures.heldout_of else "for training"
    rows = [*_content(figures), *_repetition(figures)]
    return Table(figures.dataset, (unit, f"{figures.rows:,}", use), rows, f"all {figures.rows:,} rows unless noted")


def _content(figures: Figures) -> Iterator[Line]:
    bias, margins = figures.length_bias, figures.margins
    if figures.heldout:
        yield "held out", f"{figures.heldout_rows:,}", figures.heldout
    if figures.desirable is not None and figures.rows:
        yield "desirable", _part(figures.desirable, figures.rows), ""
    yield "languages", _languages(figures), _joined("of the responses", _of(figures.languages_rows, figures.rows))
    yield "turns", _turns(figures), "prompts in a conversation"
    yield "system prompt", _part(figures.system, figures.rows), f"{figures.systems:,} different" * bool(figures.system)
    if bias is not None:
        longer = bias.longer
        if longer is not None:
            yield "chosen is longer", _part(longer.hits, longer.n), _interval(longer)
        if bias.equal:
            every, above = (bias.equal + longer.n, "not counted in the line above") if longer else (bias.equal, "")
            yield "equally long", _part(bias.equal, every), above
        yield (
            "chosen / rejected length",
            f"{bias.mean_ratio:.2f}",
            f"means; median of the pairs {bias.median_ratio:.2f}",
        )
    if figures.tokens is None:
        yield "tokens", "not counted", "add --model to count them"
    if margins is not None:
        scored, of = margins.spread.rows, _scored(margins, figures.rows)
        yield "equal scores", _part(margins.ties, scored), of
        yield "rejected scored higher", _part(margins.negative, scored), of


def _repetition(figures: Figures) -> Iterator[Line]:
    same, overlap, ifeval, instructions = figures.duplicates, figures.overlap, figures.ifeval, figures.instructions
    yield "exact duplicates", _part(same.exact, same.rows), "same prompt and responses"
    yield "near duplicates", _part(same.near, same.near_rows), _joined(NEAR, _of(same.near_rows, same.rows))
    yield "repeated prompts", _part(same.prompts, same.rows), "fine if the responses differ"
    if overlap is not None:
        compared = "" if overlap.near_rows >= figures.rows else f"of {_of(overlap.near_rows, figures.rows)}"
        yield "held out and in training", _part(overlap.exact, overlap.rows), "prompts; must be 0"
        yield "nearly the same", _part(overlap.near, overlap.rows), _joined(NEAR, compared)
    if ifeval is None:
        yield "IFEval prompts", "not checked", "add --ifeval hub (or FILE) to check"
    else:
        checked = _joined("a run of 13 words in common", _of(ifeval.rows, figures.rows))
        yield "IFEval prompts", _part(ifeval.hits, ifeval.rows), checked
    if instructions is not None:
        checked = _joined("of rlguide's own evaluation", _of(instructions.rows, figures.rows))
        yield "instruction prompts", _part(instructions.hits, instructions.rows), checked


def _spreads(title: str, found: dict[str, Quantiles], form: Callable[[float], str], note: str = "") -> Table:
    columns = ("", "min", "5 %", "25 %", "median", "75 %", "95 %", "99 %", "max", "mean")
    return Table(title, columns, [(name, *map(form, astuple(spread)[1:])) for name, spread in found.items()], note)


def _tokens(tokens: Tokens, every: int) -> Table:
    rows = _of(tokens.rows, every) or f"all {every:,} rows"
    interval = f" ({_interval(tokens.cut)})" if tokens.rows < every else ""
    lost = f", {tokens.response_cut:,} in a response" if tokens.response_cut else ""
    cut = f"cutoff_len {tokens.cutoff_len} cuts {percent(tokens.cut.value)} of them{interval}{lost}"
    note = f"{rows}, {tokens.model}, template {tokens.template}; {cut}"
    return _spreads("Length in tokens", tokens.lengths, WHOLE, note)


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
