"""How a chat's responses are generated, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# No model writes sense above 2, where OpenAI's API ends; more is allowed to see what the sampling does.
HIGHEST_TEMPERATURE = 10.0
MOST_TOKENS = 1_000_000  # no open model has a longer context; what is above is a slip of the finger


@dataclass(frozen=True)
class Settings:
    """What goes with each prompt. `temperature` None: the model's own default."""

    temperature: float | None = None
    max_new_tokens: int = 512

    def describe(self) -> str:
        """In words."""
        warmth = "the model's own temperature" if self.temperature is None else f"temperature {self.temperature:g}"
        return f"{warmth}, at most {self.max_new_tokens} new tokens"


def is_temperature(value: Any) -> bool:
    """Whether a number, also of a file, is a temperature."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 0.0 <= value <= HIGHEST_TEMPERATURE


def is_token_limit(value: Any) -> bool:
    """Whether a number, also of a file, limits the length of a response."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_TOKENS
