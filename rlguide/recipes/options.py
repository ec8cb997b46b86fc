"""What a person asks for when something is to be trained: one record for every command that configures a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from rlguide.errors import UsageError, did_you_mean
from rlguide.recipes.sharing.ways import SHARINGS, keys_over


@dataclass(frozen=True)
class TrainingOptions:
    """What a person asked for; None or nothing: choose well. The fields stand in the order of the help.

    Attributes:
        sft_ckpt: the checkpoint to start from; "latest" (the default) or a folder.
        from_run: another round on top of this run, instead of `sft_ckpt`.
        step, last: of that run, or of the reward model: the checkpoint of this step, or its end; its best step by
            default. What asks for a training puts the checkpoint in the place of the run, and drops them.
        config: train this config, which its user owns, instead of rendering one.
        settings: LLaMA-Factory's keys and their values.
        quantization: bits of the base model (4 or 8).
        report_to: trackers, separated by commas.
        best_by: by which held-out figure the best step is known (`catalog.best_by`).
        sharing: how several processes share the training (`recipes.sharing.ways`).

    Raises:
        UsageError: options that exclude each other.
    """

    sft_ckpt: str | None = None
    from_run: str | None = None
    step: int | None = None
    last: bool = False
    method: str | None = None
    loss: str | None = None
    datasets: tuple[str, ...] = ()
    config: Path | None = None
    base: str | None = None
    trust_base: bool = False
    template: str | None = None
    output_dir: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    quantization: int | None = None
    reward_model: str | None = None
    report_to: str | None = None
    best_by: str | None = None
    sharing: str | None = None

    def __post_init__(self) -> None:
        if self.sft_ckpt and self.from_run:
            raise UsageError("--sft-ckpt and --from both say where to start", "give one of them")
        if self.quantization not in (None, 4, 8):
            raise UsageError(
                f"--quantization {self.quantization} is not 4 or 8", "give 4 (QLoRA) or 8 bits, or leave it out"
            )
        if self.sharing not in (None, *SHARINGS):
            near = did_you_mean(str(self.sharing), list(SHARINGS))
            raise UsageError(f"--sharing {self.sharing} is not known{near}", f"give one of {', '.join(SHARINGS)}")

    @property
    def names_step(self) -> bool:
        """Whether a step of a run is asked for."""
        return self.step is not None or self.last

    def given(self) -> list[str]:
        """The fields that differ from their default."""
        names = []
        for item in fields(self):
            plain = item.default if item.default_factory is MISSING else item.default_factory()
            if getattr(self, item.name) != plain:
                names.append(item.name)
        return names

    @property
    def keys(self) -> dict[str, Any]:
        """LLaMA-Factory's keys that the options themselves name; `settings` come last and win.

        Raises UsageError for a tracker that is not known.
        """
        from rlguide.recipes.trackers import report_keys

        bits = {"quantization_bit": self.quantization} if self.quantization else {}
        return {**bits, **keys_over(self.sharing), **report_keys(self.report_to), **self.settings}
