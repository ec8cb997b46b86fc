"""Ask several models the same prompts, one model after another, and count what they responded."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlguide.console import say
from rlguide.errors import UsageError
from rlguide.evaluation.comparison.figures import Against, against_first, chance, measured
from rlguide.evaluation.comparison.measures import Measures
from rlguide.evaluation.comparison.power import DIFFERING, detectable_share, detectable_win_rate
from rlguide.evaluation.comparison.prompts import Prompt
from rlguide.evaluation.comparison.record import RESPONSES, Compared, folder_of, keep_compared
from rlguide.inference.model import Model
from rlguide.inference.store import stored_responses
from rlguide.workspace import Workspace, write_json

RESULT = "result.json"
_LONGEST = 200  # bytes of the name of a folder: a usual file system takes 255


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        titles: what each model is, by its short name; the first is the one that the others are compared with.
        folder: where `responses.jsonl` and `result.json` lie.
        max_new_tokens: where a response was cut.
        measures: of each response, by model, in the order of the records.
    """

    name: str
    folder: Path
    titles: dict[str, str]
    max_new_tokens: int
    records: list[Compared]
    measures: dict[str, list[Measures]]
    against: list[Against]

    @property
    def file(self) -> Path:
        """Where the responses lie."""
        return self.folder / RESPONSES

    @property
    def verdicts(self) -> list[str]:
        """What differs beyond chance, a sentence for each model but the first, and how far that can be trusted."""
        return [*(item.verdict for item in self.against), *filter(None, [chance(self.against)])]

    def as_dict(self) -> dict[str, Any]:
        """For JSON, without the responses."""
        return {
            "name": self.name,
            "models": self.titles,
            "prompts": len(self.records),
            "max_new_tokens": self.max_new_tokens,
            "against_first": [item.as_dict() for item in self.against],
            "detectable": {
                "share": detectable_share(len(self.records)),
                "win_rate": detectable_win_rate(len(self.records)),
            },
            "summary": self.verdicts,
        }


def resolution(prompts: int) -> str:
    """What differences so many prompts can show, in a sentence."""
    share, rate = detectable_share(prompts), detectable_win_rate(prompts)
    if rate is None:
        return f"{prompts} prompts are too few to tell any difference from chance"
    from_here = "no difference of a share" if share is None else f"{100 * share:.0f} points of a share"
    return (
        f"what {prompts} prompts can show (8 times in 10, two-sided, 5 %): {from_here}, if the models differ on"
        f" {100 * DIFFERING:.0f} % of the prompts; a win rate of {100 * (0.5 + rate):.0f} %"
    )


def compare(
    ws: Workspace, models: dict[str, Model], prompts: Sequence[Prompt], max_new_tokens: int, name: str | None = None
) -> Comparison:
    """Ask each model, one in memory at a time, and keep what they responded in `comparisons/NAME`.

    What a model responded before, also in `rlguide eval`, it is not asked again; an interruption loses none.

    Args:
        models: by short names, none of them entered; the others are compared with the first.
        name: of the comparison; by default made of the models' names.

    Raises:
        UsageError: the name is no part of a path.
        EngineError: a model failed.
        RlguideError: the files cannot be written.
    """
    chosen = name or default_name(list(models))
    if not re.fullmatch(r"[^/\\\x00-\x1f]+", chosen) or chosen.startswith(".") or len(os.fsencode(chosen)) > _LONGEST:
        raise UsageError(
            f"--name {chosen} is no name of a folder", f"give letters, digits, - and _, {_LONGEST} bytes at most"
        )
    say(resolution(len(prompts)))
    conversations = [prompt.messages for prompt in prompts]
    given = {}
    for short, model in models.items():
        say(f"{short}: {model.title}")
        given[short] = stored_responses(model, conversations, max_new_tokens, short)
    records = [
        Compared(prompt.source, prompt.messages, {short: given[short][at] for short in models})
        for at, prompt in enumerate(prompts)
    ]
    folder = folder_of(ws, chosen)
    keep_compared(folder, records)
    titles = {short: model.title for short, model in models.items()}
    found = comparison_of(chosen, folder, titles, max_new_tokens, records)
    write_json(folder / RESULT, found.as_dict())
    return found


def comparison_of(
    name: str, folder: Path, titles: dict[str, str], max_new_tokens: int, records: list[Compared]
) -> Comparison:
    """The comparison that these records make."""
    measures = measured(records)
    return Comparison(name, folder, titles, max_new_tokens, records, measures, against_first(records, measures))


def default_name(shorts: Sequence[str]) -> str:
    """The name of a comparison of these models."""
    name = "-vs-".join(re.sub(r"[^\w.-]+", "_", short).strip("._") or "model" for short in shorts)
    return name.encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore")
