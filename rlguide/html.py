"""HTML pages from the templates in `templates/`: one file each, without scripts, network or external resources."""

from __future__ import annotations

from pathlib import Path


def render(template: str, **values: object) -> str:
    """The page that `template` (its file name) makes of `values`; every value is escaped unless it is jinja2 markup.

    `base.html` has head and style, `parts.html` the macros for tables and pictures. Nothing of the page is fetched or
    run, whatever the values hold: its Content-Security-Policy allows inline style and inline pictures only.

    Raises:
        jinja2.TemplateError: the template uses a value that was not given.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = _base64
    return environment.get_template(template).render(**values)


def _base64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode("ascii")
