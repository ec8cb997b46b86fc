"""Prompts that come with rlguide to evaluate models on, which no training set should hold."""

from __future__ import annotations

from pathlib import Path

BUNDLED_INSTRUCTIONS = Path(__file__).parents[1] / "evaluation" / "instructions" / "prompts.jsonl"
