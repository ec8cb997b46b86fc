"""The figures, pictures and pairs as one HTML page that needs nothing else: no network, no script."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from html import escape

from rlguide.data.example import Example, Labelled
from rlguide.data.inspect.figures import Figures
from rlguide.data.inspect.screen import EARLIER, LONG, shortened
from rlguide.data.inspect.tables import Table, tables

STYLE = """
:root { color-scheme: light dark; --ink: #1d2126; --soft: #66707a; --line: #d9dee3; --paper: #fff; --card: #f6f8fa;
  --better: #d7f2e0; --worse: #fbdfe2; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa4ae; --line: #343b42; --paper: #14171a;
  --card: #1c2126; --better: #1d4a31; --worse: #5a262d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.2rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
p.note, .of { color: var(--soft); font-size: .9rem; margin: .2rem 0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.numbers th:not(:first-child), .numbers td:not(:first-child) { text-align: right; white-space: nowrap; }
ul.verdicts { padding-left: 1.2rem; } ul.verdicts li { margin: .3rem 0; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(28rem, 100%), 1fr)); gap: 1rem; }
.pictures img { max-width: 100%; height: auto; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .6rem 0; background: var(--card); }
summary { cursor: pointer; padding: .6rem .9rem; overflow-wrap: anywhere; }
.row { padding: 0 .9rem .9rem; } .text { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0 .8rem; }
.label { color: var(--soft); font-size: .85rem; }
.answers { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
.answers > div { min-width: 0; border-top: 3px solid var(--line); padding-top: .4rem; }
.answers > .chosen { border-color: #2a9d5c; } .answers > .rejected { border-color: #d1495b; }
ins { background: var(--better); text-decoration: none; } del { background: var(--worse); text-decoration: none; }
@media (max-width: 46rem) { body { padding: .8rem; } .answers { grid-template-columns: 1fr; }
  .pictures { grid-template-columns: 1fr; } td, th { padding-right: .6rem; } }
"""

# Nothing may be fetched or run, whatever a text of the dataset holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_PIECE = re.compile(r"[一-鿿぀-ヿ가-힯]|\w+|\s+|.", re.DOTALL)
ALIKE = 0.5  # share of words in common; with less, nearly everything would be marked, and nothing is
TITLES = {"lengths": "Lengths", "length_difference": "Length difference", "margins": "Score margins"}


def page(figures: Figures, pictures: dict[str, bytes], examples: Sequence[tuple[int, Example]]) -> str:
    """The whole page."""
    title = escape(shortened(figures.dataset))
    body = [f"<h1>{title}</h1>", f'<p class="note">{escape(_origin(figures))}</p>']
    body += ["<h2>What to do</h2>", *_verdicts(figures)]
    if pictures:
        body += ["<h2>Lengths and scores</h2>", '<div class="pictures">', *_pictures(pictures), "</div>"]
    for position, table in enumerate(tables(figures)):
        body += _table(table, heading="Figures" if position == 0 else table.title)
    body += [f'<p class="note">{escape(note)}</p>' for note in figures.notes]
    if examples:
        body += [f"<h2>{len(examples)} rows drawn at random</h2>"]
        if figures.kind == "pairs":
            body += ['<p class="note">Where two answers have half of their words in common, the others are marked.</p>']
        for index, (position, example) in enumerate(examples):
            body += _example(position, example, is_open=index < 3)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _origin(figures: Figures) -> str:
    source = figures.source
    origin = next((source[key] for key in ("hub_id", "file", "folder", "derived_from") if source.get(key)), None)
    return f"rlguide inspect, {figures.rows:,} rows" + (f", from {origin}" if origin else "")


def _verdicts(figures: Figures) -> Iterator[str]:
    if not figures.verdicts:
        yield "<p>Nothing to mend was found.</p>"
        return
    yield '<ul class="verdicts">'
    yield from (f"<li>{escape(verdict)}</li>" for verdict in figures.verdicts)
    yield "</ul>"
    if figures.apply:
        yield f'<pre class="scroll">{escape(shortened(figures.apply))}</pre>'


def _pictures(pictures: dict[str, bytes]) -> Iterator[str]:
    for name, data in pictures.items():
        encoded = base64.b64encode(data).decode()
        yield f'<img alt="{escape(TITLES.get(name, name))}" src="data:image/png;base64,{encoded}">'


def _table(table: Table, heading: str) -> Iterator[str]:
    yield f"<h2>{escape(heading)}</h2>"
    if table.note:
        yield f'<p class="note">{escape(table.note)}</p>'
    kind = "numbers" if len(table.columns) > 3 else "words"
    yield f'<div class="scroll"><table class="{kind}">'
    if any(table.columns):
        yield "<tr>" + "".join(f"<th>{escape(name)}</th>" for name in table.columns) + "</tr>"
    for row in table.rows:
        yield "<tr>" + "".join(f"<td>{escape(shortened(cell))}</td>" for cell in row) + "</tr>"
    yield "</table></div>"


def _example(position: int, example: Example, is_open: bool) -> Iterator[str]:
    question = " ".join(shortened(example.messages[-1].value).split())
    first = question if len(question) <= 110 else question[:110] + " …"
    yield f"<details{' open' if is_open else ''}><summary>Row {position:,}: {escape(first)}</summary><div class='row'>"
    if example.system:
        yield _text("system", escape(shortened(example.system, EARLIER)))
    for index, turn in enumerate(example.messages):
        limit = LONG if index == len(example.messages) - 1 else EARLIER
        yield _text("assistant" if index % 2 else "user", escape(shortened(turn.value, limit)))
    if isinstance(example, Labelled):
        label = "desirable" if example.desirable else "undesirable"
        yield _text(label, escape(shortened(example.answer)))
    else:
        yield from _pair(example.chosen, example.rejected, example.scores)
    yield "</div></details>"


def _pair(chosen: str, rejected: str, scores: tuple[float, float] | None) -> Iterator[str]:
    marked = marked_differences(shortened(chosen), shortened(rejected))
    yield '<div class="answers">'
    for index, (name, text) in enumerate((("chosen", chosen), ("rejected", rejected))):
        score = f", score {scores[index]:g}" if scores is not None else ""
        yield f'<div class="{name}">{_text(f"{name}, {len(text):,} characters{score}", marked[index])}</div>'
    yield "</div>"


def _text(label: str, markup: str) -> str:
    return f'<div class="label">{escape(label)}</div><div class="text">{markup}</div>'


def marked_differences(chosen: str, rejected: str) -> tuple[str, str]:
    """Both texts as HTML, what differs word by word (Chinese: character by character) marked <ins> and <del>."""
    left, right = _PIECE.findall(chosen[: 2 * LONG]), _PIECE.findall(rejected[: 2 * LONG])
    matcher = SequenceMatcher(None, left, right, autojunk=False)
    common = sum(not piece.isspace() for a, _, size in matcher.get_matching_blocks() for piece in left[a : a + size])
    words = sum(not piece.isspace() for piece in (*left, *right))
    if 2 * common < ALIKE * words:
        return escape(chosen), escape(rejected)
    sides: tuple[list[str], list[str]] = ([], [])
    for kind, a, b, c, d in matcher.get_opcodes():
        for side, pieces, tag in ((sides[0], left[a:b], "ins"), (sides[1], right[c:d], "del")):
            text = escape("".join(pieces))
            side.append(text if kind == "equal" or not text.strip() else f"<{tag}>{text}</{tag}>")
    return "".join(sides[0]), "".join(sides[1])
