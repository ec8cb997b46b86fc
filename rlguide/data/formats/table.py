"""All formats, in the order in which they are tried."""

from __future__ import annotations

from rlguide.data.formats.base import Format
from rlguide.data.formats.comparisons import Comparison, Responses
from rlguide.data.formats.label_formats import KtoAlpaca, KtoMessages, KtoPrompt
from rlguide.data.formats.pair_formats import (
    Alpaca,
    AlpacaRanking,
    OpenaiMessages,
    OpenaiPreference,
    Orca,
    Sharegpt,
    TrlImplicitPrompt,
    TrlPrompt,
    Ultrafeedback,
)
from rlguide.data.formats.scored_lists import ScoredList
from rlguide.data.formats.transcripts import Dialogue, TextPrefix

# The first that fits wins, so the more particular ones stand first; those of pairs go before those of labels.
FORMATS: dict[str, Format] = {
    known.name: known
    for known in (
        Sharegpt(),
        Ultrafeedback(),
        Dialogue(),
        TrlPrompt(),
        OpenaiMessages(),
        OpenaiPreference(),
        TrlImplicitPrompt(),
        Alpaca(),
        Orca(),
        Comparison(),
        AlpacaRanking(),
        Responses(),
        ScoredList(),
        TextPrefix(),
        KtoMessages(),
        KtoPrompt(),
        KtoAlpaca(),
    )
}
