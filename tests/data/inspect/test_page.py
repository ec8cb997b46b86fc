"""The page: every text stays text, nothing is fetched; looked at in a real browser."""

from __future__ import annotations

import http.server
import re
import shutil
import subprocess
import threading
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlguide.data.example import Example, Turn
from rlguide.data.inspect.collect import Collector, collect
from rlguide.data.inspect.page import differences, page
from rlguide.data.inspect.plots import draw

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


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


def page_of(rows: list[Example], name: str = "data", draws: bool = True) -> str:
    collector = collect(Collector(None, 20), rows)
    pictures = draw(collector, transparent=True) if draws else {}
    return page(collector.figures(name, None), pictures, collector.sample)


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
    assert not parser.tags & {"script", "iframe", "link", "object", "form", "a"}
    assert parser.addresses and all(address.startswith("data:image/png;base64,") for address in parser.addresses)


def marked_differences(chosen: str, rejected: str) -> tuple[str, str]:
    """Both texts as the page has them."""
    found = re.search(
        '<div class="responses">.*?<div class="text">(.*?)</div></div>.*?<div class="text">(.*?)</div></div>',
        page_of([Example.pair((Turn("human", "q"),), chosen, rejected)], draws=False),
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


@pytest.mark.browser
def test_a_browser_shows_texts_as_text_and_fetches_nothing(tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH (apt-get install chromium)")
    fetched: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        file = tmp_path / "页 page.html"
        file.write_bytes(page_of(hostile(url)).encode("utf-8", "replace"))
        dom = _chromium(tmp_path, "--dump-dom", file.as_uri())
        picture = tmp_path / "page.png"
        _chromium(tmp_path, "--window-size=400,900", f"--screenshot={picture}", file.as_uri())
        control = tmp_path / "control.html"  # the same texts as HTML are fetched: the test can fail
        control.write_text(f"<img src={url}/control>")
        _chromium(tmp_path, "--dump-dom", control.as_uri())
        server.shutdown()
    assert fetched == ["/control"]
    assert "<title>data</title>" in dom
    assert "&lt;script&gt;document.title='taken over'" in dom
    assert "<script" not in dom and "<iframe" not in dom
    assert picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000


@pytest.mark.browser
@pytest.mark.parametrize("window, wide, shown", [(1300, 300, 300), (500, 1000, 450)])
def test_a_picture_is_not_blown_up_and_fits_a_narrow_window(tmp_path: Path, window: int, wide: int, shown: int) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH (apt-get install chromium)")
    import matplotlib.image
    import numpy as np

    red = np.zeros((100, wide, 3))
    red[..., 0] = 1
    matplotlib.image.imsave(tmp_path / "red.png", red)
    rows = [Example.pair((Turn("human", "q"),), "a", "b")]
    figures = collect(Collector(None), rows).figures("data", None)
    file, picture = tmp_path / "page.html", tmp_path / "screen.png"
    file.write_text(page(figures, {"lengths": (tmp_path / "red.png").read_bytes()}, []), encoding="utf-8")
    _chromium(tmp_path, f"--window-size={window},900", f"--screenshot={picture}", file.as_uri())
    pixels = matplotlib.image.imread(picture)
    columns = ((pixels[..., 0] > 0.9) & (pixels[..., 1] < 0.1) & (pixels[..., 2] < 0.1)).any(axis=0).sum()
    assert columns == shown if shown == wide else shown <= columns < window


def _chromium(folder: Path, *arguments: str) -> str:
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",  # containers run as root
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=3000",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.decode()
