"""What configure and train share: the request, and showing what will happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rlguide.recipes.options import Request
    from rlguide.recipes.prepare import Prepared


def make_request(
    sft_ckpt: str | None,
    from_run: str | None,
    method: str | None,
    loss: str | None,
    dataset: str | None,
    base: str | None,
    template: str | None,
    output_dir: str | None,
    settings: list[str] | None,
    trust_base: bool,
    quantization: int | None = None,
    reward_model: str | None = None,
) -> Request:
    """The request of the options. Raises UsageError for a malformed --set, or both --sft-ckpt and --from."""
    from rlguide.engine.config_file import parse_settings, split_names
    from rlguide.errors import UsageError
    from rlguide.recipes.options import Request

    if sft_ckpt and from_run:
        raise UsageError("--sft-ckpt and --from both say where to start", "give one of them")
    if quantization not in (None, 4, 8):
        raise UsageError(f"--quantization {quantization} is not 4 or 8", "give 4 (QLoRA) or 8 bits, or leave it out")
    bits = {"quantization_bit": quantization} if quantization else {}
    return Request(
        sft_ckpt=sft_ckpt or "latest",
        from_run=from_run,
        reward_model=reward_model,
        method=method or "dpo",
        loss=loss,
        datasets=tuple(split_names(dataset)),
        base=base,
        template=template,
        output_dir=output_dir,
        settings={**bits, **parse_settings(settings or [])},
        trust_base=trust_base,
    )


def show_plan(prepared: Prepared) -> None:
    """Say what the training will do (stderr)."""
    from rlguide.console import say, warn

    say(f"method     {prepared.method.name}: {prepared.method.title}")
    say(f"{'reference' if prepared.method.has_reference else 'start':9}  {prepared.reference.describe()}")
    say(f"result     {prepared.policy.describe()}")
    say(f"template   {prepared.config['template']} ({prepared.template_why})")
    say(f"plan       {prepared.schedule.describe(prepared.unit)}")
    weights = [prepared.config.get(f"kto_{side}_weight") for side in ("chosen", "rejected")]
    if weights != [None, None]:
        say(f"weights    desirable {weights[0]}, undesirable {weights[1]} (from the counts of the labels)")
    held_out = ", ".join(item.name for item in prepared.held_out)
    if not held_out and prepared.schedule.held_out:
        held_out = f"{prepared.config['val_size']} of the training pairs (val_size), drawn by the engine"
    say(f"held out   {held_out or 'nothing: there will be no evaluation during training'}")
    say(f"disk       about {prepared.disk_bytes / 1e9:.1f} GB will be written to {prepared.output_dir}")
    for note in prepared.notes:
        warn(note)


SftOption = Annotated[
    str | None,
    typer.Option("--sft-ckpt", help='SFT checkpoint: its folder, or "latest" for the newest under saves/.'),
]

FromOption = Annotated[
    str | None,
    typer.Option("--from", metavar="RUN", help="Another round: start from what this run trained, its whole stack."),
]

MethodOption = Annotated[
    str | None,
    typer.Option("--method", "-m", help="dpo, kto, orpo, simpo, rm or ppo; dpo by default. See `rlguide methods`."),
]

LossOption = Annotated[str | None, typer.Option("--loss", help="With dpo: sigmoid, hinge or ipo; sigmoid by default.")]

DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", "-d", help="Registered datasets, separated by commas; the only one by default."),
]

BaseOption = Annotated[
    str | None, typer.Option("--base", help="Base model: hub id or folder; read from the adapter by default.")
]

TrustBaseOption = Annotated[
    bool, typer.Option("--trust-base", help="The base is the same model under another name; its shapes must fit.")
]

TemplateOption = Annotated[
    str | None, typer.Option("--template", help="Chat template of LLaMA-Factory; told from the model by default.")
]

OutputOption = Annotated[
    str | None, typer.Option("--output-dir", "-o", help="Folder of the run; saves/<model>/lora/dpo by default.")
]

QuantizationOption = Annotated[
    int | None,
    typer.Option("--quantization", help="Hold the base in 4 or 8 bits (QLoRA); the SFT stack is merged first."),
]

RewardModelOption = Annotated[
    str | None,
    typer.Option("--reward-model", metavar="RUN", help="With ppo: the reward model, a run of --method rm."),
]

SetOption = Annotated[
    list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Any key of LLaMA-Factory; repeatable.")
]
