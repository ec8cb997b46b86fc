"""The page of a comparison: all of it is there, and nothing in it acts, whatever models respond."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from rlguide.conversation import Response
from rlguide.errors import UsageError
from rlguide.evaluation.comparison.compare import Comparison, comparison_of, resolution
from rlguide.evaluation.comparison.figures import POINTS, Against
from rlguide.evaluation.comparison.record import Compared
from rlguide.evaluation.lines import Line
from rlguide.html.words import Words
from rlguide.reports.compared import PAGE, comparison_page, write_comparison
from rlguide.statistics import Estimate, proportion
from tests.html.browser import chromium, visit
from tests.reports.test_page import EVIL

CHINESE = "旧港口在一排狭窄房屋后面，从前渔民常坐那里修补网具，直到铁路通车。"


def compared(folder: Path, models: int = 2, evil: bool = True) -> Comparison:
    """Prompts of all kinds, the responses of every model of another kind."""
    texts = [*(EVIL if evil else ()), CHINESE, "", "again and " * 80, "I'm sorry, but I cannot help with that.", "fine"]
    records = [
        Compared(
            ("file", "instructions", "held out")[at % 3],
            [{"role": "system", "content": text}, {"role": "user", "content": f"prompt {at} {text}"}],
            {
                f"model-{model}": Response(texts[(at + model * (at % 4)) % len(texts)], "length" if at % 2 else "stop")
                for model in range(models)
            },
        )
        for at, text in enumerate(texts)
    ]
    titles = {name: f"base + {name} (models/base + saves/{name})" for name in records[0].models}
    return comparison_of("x", folder, titles, 64, records)


def test_every_prompt_and_response_is_there(tmp_path: Path) -> None:
    found = compared(tmp_path, 3, evil=False)
    page = comparison_page(found)
    plain = unescape(re.sub(r"</?(?:ins|del)>", "", page))
    for record in found.records:
        assert record.prompt[-1]["content"].split("\n")[0][:40] in plain
    for text in (CHINESE, "fine"):
        assert text in plain
    assert page.count("<details") == len(found.records)
    assert page.count("<table") == 2
    for item in found.against:
        assert f"beside {item.first}, {item.model}" in page


def test_nothing_is_left_in_english(tmp_path: Path) -> None:
    page = comparison_page(compared(tmp_path, 3, evil=False), "zh")
    assert 'class="untranslated"' not in page


def test_a_page_of_somebody_else_stays(tmp_path: Path) -> None:
    (tmp_path / PAGE).write_text("mine")
    with pytest.raises(UsageError):
        write_comparison(compared(tmp_path))
    assert (tmp_path / PAGE).read_text() == "mine"
    (tmp_path / PAGE).unlink()
    assert write_comparison(compared(tmp_path)) == write_comparison(compared(tmp_path)) == tmp_path / PAGE


@pytest.mark.browser
@pytest.mark.parametrize(
    ("width", "is_dark", "language", "models"), [(360, True, "en", 3), (360, False, "zh", 2), (1200, True, "zh", 3)]
)
def test_a_browser_fetches_nothing_and_nothing_is_cut(
    tmp_path: Path, width: int, is_dark: bool, language: str, models: int
) -> None:
    seen = visit(tmp_path, comparison_page(compared(tmp_path, models), language), width, is_dark)
    assert seen.fetched == [] and seen.console == []
    assert seen.found["width"] <= width and seen.found["wide"] == []
    paper, ink = (sum(map(int, re.findall(r"\d+", seen.found[part])[:3])) for part in ("paper", "ink"))
    assert (paper < ink) is is_dark
    assert "&lt;script&gt;document.title" in seen.dom and seen.found["title"].startswith("model-0 / model-1")


_USE = """<script>
addEventListener("load", () => setTimeout(() => {
  const [input, select, said] = document.querySelector(".find").children;
  const order = () => [...document.querySelectorAll("details")].filter((part) => !part.hidden)
    .map((part) => part.querySelector("summary").textContent.split(".")[0]).join(" ");
  const found = [order()];
  select.value = "apart"; select.dispatchEvent(new Event("change")); found.push(order());
  select.value = ""; select.dispatchEvent(new Event("change")); found.push(order());
  input.value = "修补"; input.dispatchEvent(new Event("input")); found.push(order(), said.textContent);
  document.title = found.join("|");
}, 50));
</script>"""


@pytest.mark.browser
def test_prompts_are_searched_and_sorted(tmp_path: Path) -> None:
    found = compared(tmp_path, 2, evil=False)
    page = comparison_page(found)
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", _USE + "</body>")
    file = tmp_path / "used.html"
    file.write_text(free, encoding="utf-8")
    dom, console = chromium(tmp_path, "--dump-dom", file.as_uri())
    title = re.search("<title>(.*?)</title>", dom)
    assert title is not None and console == []
    usual, sorted_, again, searched, said = title[1].split("|")
    assert usual == again == "1 2 3 4 5"
    values = {
        number: float(value)
        for value, number in re.findall(r'data-apart="([\d.]+)"[^>]*><summary dir="auto">(\d)', page)
    }
    assert sorted_.split() == sorted(values, key=lambda number: -values[number])
    assert sorted_ != usual
    with_text = [str(at + 1) for at, one in enumerate(found.records) if CHINESE[15:17] in str(one.as_dict())]
    assert searched.split() == with_text and said == f"{len(with_text)} / 5"


@pytest.mark.parametrize("count", [3, 30, 300])
def test_what_is_said_is_said_in_chinese(count: int) -> None:
    """Every sentence of a verdict, whatever differs."""
    words = Words("zh")
    names = ["loops", "refusals", "language switches", "empty responses", "cut responses"]
    names += ["English instructions followed", "Chinese instructions followed"]
    values = [Estimate(sign * 0.5, sign * 0.5 - 0.1, sign * 0.5 + 0.1, count) for sign in (1, -1)]
    for value in values:
        lines = [Line(name, 0.1, 0.6, value, goal, "x", 3, POINTS) for name in names for goal in ("", "more", "less")]
        lines += [
            Line("repetition", 0.1, 0.6, value, "less", "x"),
            Line("length", 0.1, 0.6, value, "", "x", 1, "words"),
        ]
        for some in (lines, *([line] for line in lines)):
            said = Against("m 1", "m 0", some, proportion(0, count)).verdict
            found = words.sentence(said)
            assert found is not None, said
            assert not re.search("[a-z]{2}", found.replace("m 1", "").replace("m 0", "")), found
    assert words.sentence(resolution(count)) is not None
