"""Open a page in a real Chromium, in a window of any width, and see what it does."""

from __future__ import annotations

import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# The page in a frame, because a headless window is never narrower than 500 pixels. It measures, and points at the first
# chart in its middle; `title` tells when it is done.
_FRAME = """<!DOCTYPE html><title>waiting</title><pre></pre>
<iframe src="/page.html" style="border:0;width:{width}px;height:{height}px"></iframe>
<script>
addEventListener("load", () => setTimeout(() => {{
  const frame = document.querySelector("iframe"), page = frame.contentDocument, root = page.documentElement;
  const outputs = () => [...page.querySelectorAll("output")].map((output) => output.textContent);
  const wide = [...page.body.querySelectorAll("*")].filter((element) =>
    !element.closest(".scroll, svg") && element.getBoundingClientRect().right > root.clientWidth + 1);
  const found = {{
    title: page.title, width: root.scrollWidth, wide: wide.map((element) => element.outerHTML.slice(0, 200)),
    paper: getComputedStyle(page.body).backgroundColor, ink: getComputedStyle(page.body).color,
    fonts: [...page.querySelectorAll(".plot span")].map((label) => parseFloat(getComputedStyle(label).fontSize)),
    last: outputs(), dom: root.outerHTML,
  }};
  const chart = page.querySelector("[data-chart] svg");
  if (chart) {{
    const box = chart.getBoundingClientRect();
    chart.dispatchEvent(new frame.contentWindow.PointerEvent(
      "pointermove", {{clientX: box.left + box.width / 2, clientY: box.top + 5}}));
    found.pointed = outputs();
    found.at = page.querySelector(".at").textContent;
    chart.dispatchEvent(new frame.contentWindow.PointerEvent("pointerleave"));
    found.left = outputs();
  }}
  document.querySelector("pre").textContent = JSON.stringify(found);
  document.title = "done";
}}, 300));
</script>"""


@dataclass
class Visit:
    """What was seen.

    Attributes:
        found: what the frame measured.
        console: what the browser wrote to its console: errors, refusals by the policy.
        fetched: paths that were asked for, but for the page and its frame.
        dom: the page after its script has run.
    """

    found: dict[str, Any] = field(default_factory=dict)
    console: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    dom: str = ""


@contextmanager
def served(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """A server on loopback that has these files by path: its address, and the other paths that it was asked for."""
    fetched: list[str] = []

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in files:
                fetched.append(self.path)
            self.send_response(200 if self.path in files else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(files.get(self.path, b""))

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", fetched
        finally:
            server.shutdown()


def visit(folder: Path, page: str, width: int = 360, is_dark: bool = False) -> Visit:
    """Open a page in a frame of this width; `{url}` in it becomes the address of the server that listens.

    Skips the test where there is no Chromium.
    """
    needs_chromium()
    files: dict[str, bytes] = {"/frame.html": _FRAME.format(width=width, height=900).encode()}
    with served(files) as (url, fetched):
        files["/page.html"] = page.replace("{url}", url).encode("utf-8", "replace")
        scheme = f"--blink-settings=preferredColorScheme={0 if is_dark else 1}"
        frame, console = chromium(folder, scheme, "--dump-dom", f"{url}/frame.html")
    assert "<title>done</title>" in frame, (frame[:500], console)
    found = re.search("<pre>(.*?)</pre>", frame, re.DOTALL)
    assert found is not None
    asked = [path for path in fetched if path != "/favicon.ico"]  # which the browser asks for itself
    measured = json.loads(unescape(found[1]))
    return Visit(measured, console, asked, measured.pop("dom"))


def needs_chromium() -> None:
    """Skip the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH (apt-get install chromium)")


def chromium(folder: Path, *arguments: str) -> tuple[str, list[str]]:
    """Run it without a window; what it printed, and the lines of its pages' consoles."""
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",  # containers run as root
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--hide-scrollbars",
        "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}",
        "--virtual-time-budget=3000",
        *arguments,
    ]
    done = subprocess.run(command, capture_output=True, timeout=120)
    said = done.stderr.decode("utf-8", "replace")
    assert done.returncode == 0, said[-2000:]
    return done.stdout.decode(), [line for line in said.splitlines() if "CONSOLE" in line]
