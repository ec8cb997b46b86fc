"""What the commands that configure a training share: their options, and showing what will happen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.models import OptionInfo

from rlguide.catalog.best_by import BEST_BY
from rlguide.catalog.methods import method_choices
from rlguide.cli import _complete
from rlguide.cli._spread import spread
from rlguide.errors import UsageError
from rlguide.recipes.options import TrainingOptions

if TYPE_CHECKING:
    from rlguide.catalog.gpus import Gpus
    from rlguide.planner.plan import Plan
    from rlguide.recipes.prepare import Prepared
    from rlguide.workspace import Workspace

_METHODS = method_choices()
_LOSSES = "; ".join(f"with {name}: {', '.join(losses)}" for name, losses in _METHODS.items() if losses)

_SET = typer.Option(
    "--set",
    "-s",
    metavar="KEY=VALUE",
    help="Any key of LLaMA-Factory; repeatable.",
    autocompletion=_complete.of(_complete.settings),
)
SetOption = Annotated[list[str] | None, _SET]

# The option of each field of TrainingOptions, and what Typer reads where that is not the field's type.
_OPTIONS: dict[str, OptionInfo] = {
    "sft_ckpt": typer.Option(
        "--sft-ckpt",
        help='SFT checkpoint: its folder, or "latest" for the newest under saves/.',
        autocompletion=_complete.of(_complete.latest, _complete.checkpoints),
    ),
    "from_run": typer.Option(
        "--from",
        metavar="RUN",
        help="Another round: start from what this run trained, its whole stack.",
        autocompletion=_complete.of(_complete.runs),
    ),
    "step": typer.Option(
        "--step", min=1, metavar="N", help="With --from: the checkpoint of this step instead of the best one."
    ),
    "last": typer.Option("--last", help="With --from: the end of the run instead of its best step."),
    "method": typer.Option(
        "--method",
        "-m",
        help=f"Method: {', '.join(_METHODS)}; {next(iter(_METHODS))} by default. See `rlguide methods`.",
        autocompletion=_complete.of(_complete.methods),
    ),
    "loss": typer.Option(
        "--loss",
        help=f"Preference loss, {_LOSSES}; the first is the default.",
        autocompletion=_complete.of(_complete.losses),
    ),
    "datasets": typer.Option(
        "--dataset",
        "-d",
        help="Registered datasets, separated by commas; the only one by default.",
        autocompletion=_complete.of(_complete.datasets, several=True),
    ),
    "config": typer.Option("--config", "-c", help="Train this config as it is, instead of rendering one."),
    "base": typer.Option(
        "--base", help="Base model: hub id or folder; read from the adapter by default. With sft: the start."
    ),
    "trust_base": typer.Option(
        "--trust-base", help="The base is the same model under another name; its shapes must fit."
    ),
    "template": typer.Option("--template", help="Chat template of LLaMA-Factory; inferred from the model by default."),
    "output_dir": typer.Option("--output-dir", "-o", help="Folder of the run; saves/<model>/lora/<method> by default."),
    "settings": _SET,
    "quantization": typer.Option(
        "--quantization", help="Quantize the base model to 4 or 8 bits (QLoRA); the stack is merged first."
    ),
    "reward_model": typer.Option(
        "--reward-model",
        metavar="RUN",
        help="With ppo: the reward model, a run of --method rm.",
        autocompletion=_complete.of(_complete.runs),
    ),
    "report_to": typer.Option(
        "--report-to",
        metavar="TRACKER",
        help="Show the metrics in tensorboard, wandb, swanlab, trackio or mlflow, too; commas between several.",
    ),
    "best_by": typer.Option(
        "--best-by",
        metavar="FIGURE",
        help=f"What the best step is known by, on held-out data: {', '.join(BEST_BY)}; the loss by default. Its"
        " checkpoint is kept.",
        autocompletion=_complete.of(_complete.figures),
    ),
    "sharing": typer.Option(
        "--sharing",
        metavar="WAY",
        help="How several GPUs share the training: ddp, fsdp, zero2 or zero3; by default what the plan chooses (auto).",
    ),
}
_TYPES: dict[str, Any] = {"datasets": str | None, "settings": list[str] | None}


def training_options(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator: the command's parameter `TrainingOptions` becomes its options, but for the fields `without`."""
    return spread(TrainingOptions, _OPTIONS, _TYPES, _build, without)


def _build(given: dict[str, Any]) -> TrainingOptions:
    """The record of what was given. Raises UsageError for a malformed --set, or options that exclude each other."""
    from rlguide.engine.config_file import parse_settings, split_names

    given["datasets"] = tuple(split_names(given.get("datasets")))
    given["settings"] = parse_settings(given.get("settings", []))
    return TrainingOptions(**given)


def arguments_of(options: TrainingOptions) -> list[str]:
    """The options as they are typed, so that another rlguide reads the same record."""
    from rlguide.engine.config_file import format_value

    words: list[str] = []
    for name in options.given():
        option, value = str(_OPTIONS[name].default), getattr(options, name)
        if name == "settings":
            words += [word for key, setting in value.items() for word in (option, f"{key}={format_value(setting)}")]
        elif isinstance(value, bool):
            words.append(option)
        else:
            words += [option, ",".join(value) if isinstance(value, tuple) else str(value)]
    return words


def at_steps(ws: Workspace, options: TrainingOptions) -> tuple[TrainingOptions, list[str]]:
    """The options with the checkpoints of the runs that they name, of their best steps by default; and lines that say
    which, for when all is checked.

    Raises:
        UsageError: there is no such step, or no checkpoint. DataError: a record is damaged.
    """
    from rlguide.policy.checkpoint import locate
    from rlguide.policy.run_record import RUN_FILE
    from rlguide.runs.best import step_meant
    from rlguide.runs.record import open_run

    chosen: dict[str, Any] = {}
    lines = []
    for field in ("from_run", "reward_model"):
        name = getattr(options, field)
        if name is None or not (locate(ws, name) / RUN_FILE).is_file():
            continue
        run, chosen[field] = open_run(ws, name), name
        if run.status == "finished":  # another is refused later
            meant = step_meant(run, options.step, options.last)
            lines.append(f"step       {run.name}: {meant.words}")
            chosen[field] = name if meant.folder == run.path else run.file(meant.folder.name)
    return (replace(options, **chosen, step=None, last=False) if chosen else options), lines


def say_all(lines: list[str]) -> None:
    """Say each line (stderr)."""
    from rlguide.console import say

    for line in lines:
        say(line)


def refuse_others(options: TrainingOptions, allowed: tuple[str, ...], why: str, fix: str) -> None:
    """Refuse every option that was given beyond the `allowed` fields. Raises UsageError that names them."""
    # Typer keeps the first name of an option that stands in `Annotated` as its default.
    others = [str(_OPTIONS[name].default) for name in options.given() if name not in allowed]
    if others:
        raise UsageError(f"{why} (given: {', '.join(others)})", fix)


def share_by_plan(ws: Workspace, prepared: Prepared, options: TrainingOptions, gpus: Gpus | None) -> TrainingOptions:
    """The options with the way in which several GPUs are to share the training, where DDP does not fit and nobody has
    said it; it is said with its reason (stderr). `gpus`: this host's by default.
    """
    from rlguide.console import say
    from rlguide.planner.sharing import choose
    from rlguide.recipes.sharing.ways import AUTO, TITLES
    from rlguide.runs.planned import plan_of

    if prepared.schedule.processes < 2 or options.sharing not in (None, AUTO) or options.config is not None:
        return options
    plan = plan_of(ws, prepared, False, gpus)
    found = choose(ws, prepared.engine, plan) if plan is not None else None
    if found is None:
        return options
    say(f"sharing    {TITLES[found.name]}: {found.why}")
    return replace(options, sharing=found.name)


def show_need(ws: Workspace, prepared: Prepared, gpus: Gpus | None, plain: bool, force: bool) -> Plan | None:
    """Say what the training will need on these GPUs, this host's by default (stderr); None where there are none.

    Raises:
        UsageError: it does not fit, and `force` is not set.
    """
    from rlguide.console import say, warn
    from rlguide.planner.report import memory_line, sharing_line, smallest_fix, time_line, values
    from rlguide.runs.planned import plan_of

    plan = plan_of(ws, prepared, plain, gpus)
    if plan is None:
        return None
    found = values(plan)
    if found["sharing_why"]:
        say(f"sharing    {sharing_line(found)}")
    on = "on" if plan.is_checkpointed else "off"
    say(f"memory     {memory_line(found)}; gradient checkpointing {on} ({plan.why})")
    if found["seconds"] is not None:
        say(f"time       {time_line(found)}")
    if plan.fits is False:
        said = f"this training needs {memory_line(found)}"
        if not force:
            raise UsageError(said, f"{smallest_fix(ws, prepared.engine, plan)}; or --force, to try all the same")
        warn(said)
    return plan


def faster_settings(ws: Workspace, prepared: Prepared, gpus: Gpus | None) -> dict[str, Any]:
    """The settings with which the same is learnt in the least time on these GPUs; {} if it needs no others.

    Raises:
        UsageError: there is no GPU to plan for.
    """
    from rlguide.console import say
    from rlguide.engine.config_file import parse_settings
    from rlguide.planner.report import fastest, fastest_lines
    from rlguide.runs.planned import plan_of

    plan = plan_of(ws, prepared, False, gpus)
    if plan is None:
        raise UsageError("there is nothing to choose the fastest settings for", "name the GPUs, e.g. --gpus 2xA6000")
    rows = fastest(ws, prepared.engine, plan)
    for line in fastest_lines(rows):
        say(line)
    chosen: list[str] = next((row["options"] for row in rows if row["chosen"]), [])
    return parse_settings([option for option in chosen if option != "--set"])


def show_plan(prepared: Prepared, plain: bool = False) -> None:
    """Say what the training will do (stderr)."""
    from rlguide.console import say, warn
    from rlguide.recipes.lean import describe, left_out

    say(f"method     {prepared.method.name}: {prepared.method.title}")
    say(f"{'reference' if prepared.method.has_reference else 'start':9}  {prepared.reference.describe()}")
    say(f"result     {prepared.policy.describe()}")
    say(f"template   {prepared.config['template']} ({prepared.template_why})")
    say(f"plan       {prepared.schedule.describe()}")
    faster = "no: --plain" if plain else describe(left_out(prepared.method, prepared.config))
    say(f"faster     {faster}")
    weights = [prepared.config.get(f"kto_{side}_weight") for side in ("chosen", "rejected")]
    if weights != [None, None]:
        say(f"weights    desirable {weights[0]}, undesirable {weights[1]} (from the counts of the labels)")
    held_out = ", ".join(item.name for item in prepared.held_out)
    if not held_out and prepared.schedule.held_out:
        held_out = (
            f"{prepared.config['val_size']} of the training {prepared.schedule.unit} (val_size), drawn by the engine"
        )
    say(f"held out   {held_out or 'nothing: there will be no evaluation during training'}")
    say(f"disk       about {prepared.disk_bytes / 1e9:.1f} GB will be written to {prepared.output_dir}")
    for note in prepared.notes:
        warn(note)


GpusOption = Annotated[
    str | None, typer.Option("--gpus", help="GPUs to plan for, such as 2xA6000 or 24GB; this host's by default.")
]
