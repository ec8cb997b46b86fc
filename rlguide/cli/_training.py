"""What configure and train share: the request, and showing what will happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rlguide.recipes.configure import Prepared, Request


def make_request(
    sft_ckpt: str | None,
    dataset: str | None,
    base: str | None,
    template: str | None,
    output_dir: str | None,
    settings: list[str] | None,
    trust_base: bool,
) -> Request:
    """The request of the options. Raises UsageError for a malformed --set."""
    from rlguide.recipes.check import split_names
    from rlguide.recipes.config_file import parse_settings
    from rlguide.recipes.configure import Request

    return Request(
        sft_ckpt or "latest",
        tuple(split_names(dataset)),
        base,
        template,
        output_dir,
        parse_settings(settings or []),
        trust_base,
    )


def show_plan(prepared: Prepared) -> None:
    """Say what the training will do (stderr)."""
    from rlguide.console import say, warn

    say(f"reference  {prepared.reference.describe()}")
    say(f"result     {prepared.policy.describe()}")
    say(f"template   {prepared.config['template']} ({prepared.template_why})")
    say(f"plan       {prepared.schedule.describe()}")
    held_out = ", ".join(item.name for item in prepared.held_out)
    if not held_out and prepared.schedule.held_out:
        held_out = f"{prepared.config['val_size']} of the training pairs (val_size), drawn by the engine"
    say(f"held out   {held_out or 'nothing: there will be no evaluation during training'}")
    say(f"disk       about {prepared.disk_bytes / 1e9:.1f} GB will be written to {prepared.output_dir}")
    for note in prepared.notes:
        warn(note)
