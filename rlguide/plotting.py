"""Whether plots can be drawn: matplotlib comes with the extra `plots` only, as it is a quarter of a light install."""

from __future__ import annotations

from importlib.util import find_spec

from rlguide.errors import pip_install


def can_plot() -> bool:
    """Whether matplotlib is installed; where it is not, `no_plots` says how to get it."""
    return find_spec("matplotlib") is not None


def no_plots() -> str:
    """One line for where a plot would be."""
    return f"no plots, because matplotlib is not installed: {pip_install('matplotlib')}"
