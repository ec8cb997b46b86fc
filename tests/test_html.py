"""Pages are one file, and every value on them is text."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2
import pytest

import rlguide.html
from rlguide.html import render

TEMPLATES = sorted(Path(rlguide.html.__file__).with_name("templates").glob("*.html"))


def test_values_are_escaped() -> None:
    page = render("base.html", title="<script>", subtitle="</p> & 'x'")
    assert "<title>&lt;script&gt;</title>" in page and "<h1>&lt;script&gt;</h1>" in page
    assert "&lt;/p&gt; &amp; &#39;x&#39;" in page


def test_a_value_that_was_not_given_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="subtitle"):
        render("base.html", title="x")


def test_pages_run_and_fetch_nothing_by_policy() -> None:
    (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', render("base.html", title="", subtitle=""))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_have_no_script_no_address_and_no_way_round_the_escaping(template: Path) -> None:
    source = template.read_text(encoding="utf-8")
    assert not re.search(r"<script|https?:|url\(|@import|<link|\bon\w+=|\| *safe|autoescape", source)
    assert all(address.startswith("data:") for address in re.findall(r'(?:src|href)="([^"]*)', source))


def test_there_are_templates_to_check() -> None:
    assert {"base.html", "parts.html"} <= {path.name for path in TEMPLATES}
