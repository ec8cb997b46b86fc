"""`rlguide methods`: which method for which data."""

from __future__ import annotations

from rlguide.cli._options import JsonOption


def command(as_json: JsonOption = False) -> None:
    """Compare the methods of preference tuning, and SFT before them: what each needs, costs and is good for.

    \b
    rlguide methods
    rlguide explain kto
    """
    from dataclasses import asdict

    from rlguide.catalog.methods import methods
    from rlguide.console import show_json, show_table

    if as_json:
        show_json([asdict(method) for method in methods().values()])
        return
    columns = ("METHOD", "NEEDS", "COST", "STRENGTHS", "RECOMMENDATION")
    rows = [(m.name, m.needs, m.cost, m.strengths, m.recommendation) for m in methods().values()]
    show_table(columns, rows)
