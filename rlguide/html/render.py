"""HTML pages from the templates in `templates/`: one file each, without network or external resources.

Nothing is fetched, and nothing runs but `page.js`, whatever the values say: every value is escaped, what could act on a
screen is replaced, and the Content-Security-Policy allows the stylesheet and the script by their hashes.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from rlguide.console import printable
from rlguide.html.words import Words

TEMPLATES = Path(__file__).with_name("templates")
_PATH = re.compile(r"[MLHVhvz0-9. -]*")
LONGEST = 20_000  # characters of a value that are shown; whoever shows more of a text has shortened it on purpose


def render(template: str, language: str = "en", **values: object) -> str:
    """The page that `template` (its file name) makes of `values`.

    `base.html` has head and frame, `parts.html` the macros for what several pages show, `page.css` and `page.js` style
    and script. In a template `_("...")` is a text of the page, which `zh.yaml` has in Chinese; `said(...)` of
    `parts.html` shows a sentence that the code made.

    Args:
        language: "en" or "zh", in which the words of the page are.

    Raises:
        jinja2.TemplateError: the template uses a value that was not given.
    """
    from markupsafe import Markup

    environment = _environment(language)
    style, script = (_asset(name) for name in ("page.css", "page.js"))
    own = {"language": language, "style": Markup(style), "script": Markup(script), "policy": policy(style, script)}
    return str(environment.get_template(template).render(**values, **own))


def make_environment(words: Words) -> Any:
    """The jinja2 environment of the pages, with the words of one language."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.globals.update(_=words.text, translated=words.sentence)
    environment.filters["path"] = _path
    return environment


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy of a page with this stylesheet and script: no request, and nothing else runs."""
    allowed = f"img-src data:; style-src {_digest(style)}; script-src {_digest(script)}"
    return f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"


@cache
def _environment(language: str) -> Any:
    return make_environment(Words(language))


@cache
def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    import base64
    import hashlib

    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"


def _shown(value: Any) -> Any:
    """A value as it stands on a page: text that cannot act, and not without end; markup is the templates' own."""
    if hasattr(value, "__html__"):
        return value
    text = printable(str(value), "\ufffd")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} [... {len(text) - LONGEST:,}]"


def _path(text: str) -> Any:
    """An SVG path, however long it is."""
    from markupsafe import Markup

    return Markup(text) if _PATH.fullmatch(text) else ""
