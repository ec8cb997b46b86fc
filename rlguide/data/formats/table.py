"""All formats, in the order in which they are tried."""

from __future__ import annotations

from rlguide.data.formats import comparisons, label_formats, pair_formats, scored_lists, transcripts
from rlguide.data.formats.base import Format

# The first that fits wins, so the more particular ones stand first; those of pairs go before those of labels.
FORMATS: dict[str, Format] = {
    known.name: known
    for known in (
        pair_formats.Sharegpt(),
        pair_formats.Ultrafeedback(),
        transcripts.Dialogue(),
        pair_formats.TrlPrompt(),
        pair_formats.OpenaiMessages(),
        pair_formats.OpenaiPreference(),
        pair_formats.TrlImplicitPrompt(),
        pair_formats.Alpaca(),
        pair_formats.Orca(),
        comparisons.Comparison(),
        pair_formats.AlpacaRanking(),
        comparisons.Responses(),
        scored_lists.ScoredList(),
        transcripts.TextPrefix(),
        label_formats.KtoMessages(),
        label_formats.KtoPrompt(),
        label_formats.KtoAlpaca(),
    )
}
