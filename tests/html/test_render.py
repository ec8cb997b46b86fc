"""Pages are one file, and every value on them is text."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.console import UNSAFE
from rlguide.html.render import LONGEST, TEMPLATES, make_environment, render
from rlguide.html.words import Words

FILES = sorted(TEMPLATES.glob("*.html"))


def test_values_are_escaped() -> None:
    page = render("base.html", title="<script> & 'x'")
    assert "<title>&lt;script&gt; &amp; &#39;x&#39;</title>" in page
    assert page.count("<script>") == 1  # that of the pages


@given(st.text(st.sampled_from("a<>&\"'`{}%\x1b\u202e\u2066\n\ud800\u2028")))
def test_no_value_makes_markup_or_acts_on_a_screen(text: str) -> None:
    shown = make_environment(Words("en")).from_string("{{ text }}").render(text=text)
    assert not re.search("[<>\"']", shown)
    assert {found[0] for found in UNSAFE.finditer(shown)} <= {"\n"}


def test_a_value_is_not_shown_without_end() -> None:
    page = render("base.html", title="x" * 100_000)
    assert "x" * LONGEST + f" [... {100_000 - LONGEST:,}]" in page and "x" * (LONGEST + 1) not in page


def test_a_value_that_was_not_given_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render("base.html")


def test_a_page_fetches_nothing_and_runs_its_own_script_only() -> None:
    page = render("base.html", title="")
    (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', page)
    parts = dict(part.strip().split(" ", 1) for part in policy.replace("&#39;", "'").split(";"))
    hashes = {}
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        hashes[tag] = f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    assert parts == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": hashes["style"],
        "script-src": hashes["script"],
        "base-uri": "'none'",
        "form-action": "'none'",
    }


@pytest.mark.parametrize("template", FILES, ids=lambda path: path.name)
def test_templates_have_no_address_and_no_way_round_the_escaping(template: Path) -> None:
    source = template.read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|<link|\bon\w+=|\bstyle=|\| *safe|autoescape", source)
    assert source.count("<script") == (template.name == "base.html")
    assert all(address.startswith(("data:", "#")) for address in re.findall(r'(?:src|href)="([^"]*)', source))


def test_style_and_script_fetch_nothing_and_write_no_markup() -> None:
    style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    assert not re.search(r"https?:|url\(|@import|</", style)
    assert not re.search(r"https?:|fetch|XMLHttp|import|innerHTML|insertAdjacent|document\.write|eval|</", script)


def test_only_paths_are_drawn() -> None:
    drawn = make_environment(Words("en")).from_string("{{ path | path }}")
    long = "M0 1.5" + "L1 -2.5" * 10_000
    assert drawn.render(path=long) == long
    assert drawn.render(path='M0 0"/><script>') == ""


def test_there_are_templates_to_check() -> None:
    assert {"base.html", "compare.html", "parts.html", "report.html", "inspect.html"} == {path.name for path in FILES}
