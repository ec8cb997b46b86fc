"""The page: every text stays text, nothing is fetched; looked at in a real browser."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.example import Example, Turn
from rlguide.data.inspect.collect import Collector, collect
from rlguide.data.inspect.page import charts_of, differences, page
from tests.html.browser import visit


def hostile(url: str) -> list[Example]:
    """Texts that would run or fetch if they were taken for HTML."""
    evil = [
        f"<script>document.title='taken over'; fetch('{url}/script')</script>",
        f"<img src={url}/image onerror=\"document.title='taken over'\">",
        f"</div></details></body><iframe src='{url}/frame'></iframe><link rel=stylesheet href={url}/style>",
        f"<style>body {{ background: url({url}/background) }}</style> &lt;b&gt; &amp;",
        "\x1b[31mred\u202e reversed \ud800 half",
    ]
    return [
        Example.pair((Turn("human", text + str(n)), Turn("gpt", text), Turn("human", text)), text + " 好", text, text)
        for n, text in enumerate(evil * 3)
    ]


def page_of(rows: list[Example], name: str = "data") -> str:
    collector = collect(Collector(None, 20), rows)
    return page(collector.figures(name, None), charts_of(collector), collector.sample)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "srcset", "data", "action")]


def test_texts_make_no_tags_and_no_addresses() -> None:
    parser = _Tags()
    parser.feed(page_of(hostile("http://127.0.0.1:1"), "<script>name</script>"))
    assert not parser.tags & {"iframe", "link", "object", "form", "a", "img"}
    assert parser.tags >= {"svg", "script"} and parser.addresses == []


def marked_differences(chosen: str, rejected: str) -> tuple[str, str]:
    """Both texts as the page has them."""
    found = re.search(
        '<div class="responses">.*?<div class="text"[^>]*>(.*?)</div></div>.*?<div class="text"[^>]*>(.*?)</div></div>',
        page_of([Example.pair((Turn("human", "q"),), chosen, rejected)]),
        re.DOTALL,
    )
    assert found is not None
    return found[1], found[2]


@given(st.text("ab <>&\"' 中文\n", max_size=40), st.text("ab <>&\"' 中文\n", max_size=40))
def test_marks_change_no_text(chosen: str, rejected: str) -> None:
    pieces = differences(chosen, rejected)
    for text, part, markup in zip((chosen, rejected), pieces, marked_differences(chosen, rejected), strict=True):
        assert "".join(piece for _, piece in part) == unescape(re.sub("</?(ins|del)>", "", markup)) == text


def test_marks_stand_where_the_responses_differ() -> None:
    left, right = marked_differences("The sky is blue today.", "The sky is green today.")
    assert left == "The sky is <ins>blue</ins> today."
    assert right == "The sky is <del>green</del> today."
    left, right = marked_differences("天空是蓝色的", "天空是绿色的")
    assert (left, right) == ("天空是<ins>蓝</ins>色的", "天空是<del>绿</del>色的")


def test_responses_with_nothing_in_common_are_not_marked() -> None:
    assert marked_differences("abc def", "完全不同的回答") == ("abc def", "完全不同的回答")


def test_charts_are_those_of_the_rows() -> None:
    rows = [Example.pair((Turn("human", "q" * n),), "a" * (2 * n), "b" * n) for n in range(1, 40)]
    collector = collect(Collector(None), rows)
    lengths, difference = charts_of(collector)
    assert [item.label for item in lengths.series] == ["prompt, median 20", "chosen, median 40", "rejected, median 20"]
    assert lengths.x_labels == ("1", "10", "100")
    bars = dict(difference.bars)
    assert difference.x_labels == ("-38.8", "0", "38.8") and bars[3] and not bars[4] and not bars[5]


@pytest.mark.browser
@pytest.mark.parametrize(("width", "is_dark"), [(360, True), (1200, False)])
def test_a_browser_shows_texts_as_text_and_fetches_nothing(tmp_path: Path, width: int, is_dark: bool) -> None:
    seen = visit(tmp_path, page_of(hostile("{url}")), width, is_dark)
    assert seen.found["title"] == "data" and seen.fetched == [] and seen.console == []
    assert seen.found["width"] <= width and seen.found["wide"] == []
    assert "&lt;script&gt;document.title='taken over'" in seen.dom
    assert seen.dom.count("<script") == 1 and "<iframe" not in seen.dom
    control = visit(tmp_path, "<title>x</title><img src={url}/control><script>throw new Error('told')</script>")
    assert "/control" in control.fetched and any("told" in line for line in control.console)  # the test can fail
