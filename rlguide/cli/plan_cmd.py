"""`rlguide plan`: will it fit, how long will it take, what is the fastest that fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rlguide.cli._options import EngineOption, JsonOption, WorkspaceOption, open_workspace
from rlguide.cli._training import GpusOption, training_options
from rlguide.recipes.options import TrainingOptions

if TYPE_CHECKING:
    from rlguide.catalog.gpus import Gpus
    from rlguide.engine.find import Engine
    from rlguide.planner.training import Training
    from rlguide.workspace import Workspace

_NEED_MERGED = ("quantization_bit", "deepspeed", "use_unsloth")  # `policy.policy.cannot_merge`
_NOWHERE = "saves/planned"  # in the place of a config's folder, which may hold what was trained with it


@training_options()
def command(
    options: TrainingOptions,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Plan for a model alone, by the method's recipe: hub id, folder or config.json."),
    ] = None,
    gpus: GpusOption = None,
    interconnect: Annotated[
        str | None,
        typer.Option("--interconnect", metavar="100GbE", help="Network between nodes: 25GbE, 200Gb-IB, 8x400Gb-IB."),
    ] = None,
    scale: Annotated[bool, typer.Option("--scale", help="Show time and cost on 1 to 64 GPUs.")] = False,
    optimise: Annotated[bool, typer.Option("--optimise", help="Look for the fastest settings that fit.")] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Plan for `rlguide train --plain`.")] = False,
    workspace: WorkspaceOption = Path(),
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a training will need before it starts: memory of each GPU, time, energy and disk.

    \b
    rlguide plan --model Qwen/Qwen3-4B-Base --gpus 2xA6000
    rlguide plan --sft-ckpt latest --dataset ultrafeedback
    rlguide plan --config configs/dpo_config.yaml --gpus 1x4090
    rlguide plan --model Qwen/Qwen3-8B --quantization 4 --gpus 24GB --set per_device_train_batch_size=2
    rlguide plan --sft-ckpt latest --dataset my_pairs --optimise
    rlguide plan --model Qwen/Qwen3-4B-Base --gpus 2x8xA100 --interconnect 200Gb-IB --scale
    """
    from rlguide.catalog.gpus import parse_gpus
    from rlguide.engine.find import find_engine
    from rlguide.planner.asked import host_gpus
    from rlguide.planner.scale import with_network

    ws = open_workspace(workspace)
    main = find_engine(engine)
    asked = with_network(parse_gpus(gpus) if gpus is not None else host_gpus(), interconnect)
    training, main, disk = _training(ws, main, options, model, asked, gpus is not None, plain)
    if gpus is None and training.config.get("use_cpu"):
        asked = None
    is_open = options.sharing in (None, "auto") and options.config is None
    asks = ("fastest",) * optimise + ("scale",) * scale + ("sharing",) * is_open
    _show(ws, main, training, asked, disk, asks, as_json)


def _training(
    ws: Workspace,
    engine: Engine,
    options: TrainingOptions,
    model: str | None,
    gpus: Gpus | None,
    is_asked: bool,
    is_plain: bool,
) -> tuple[Training, Engine, int]:
    from rlguide.cli._training import at_steps, refuse_others, say_all
    from rlguide.planner.asked import as_host, of_model, of_prepared
    from rlguide.recipes.disk import disk_need
    from rlguide.recipes.prepare import prepare

    if model is not None:
        allowed = ("method", "loss", "datasets", "template", "settings", "quantization", "sharing")
        refuse_others(options, allowed, "--model plans for a model alone", "leave the others out, or leave --model out")
        training = of_model(ws, engine, model, options, as_host(gpus) or [], is_plain)
        return training, engine, disk_need(training.config, training.model, 0)
    # Nothing is merged and nothing is written for a plan: what needs a merged stack comes in afterwards.
    later = {key: value for key, value in options.keys.items() if key in _NEED_MERGED and value}
    settings = {key: value for key, value in options.settings.items() if key not in later}
    output = options.output_dir or (_NOWHERE if options.config else None)
    sharing = None if "deepspeed" in later else options.sharing
    options = replace(options, settings=settings, quantization=None, output_dir=output, sharing=sharing)
    options, steps = at_steps(ws, options)
    prepared = prepare(ws, engine, options, dry_run=True, gpus=as_host(gpus) if is_asked else None)
    say_all(steps)
    training = of_prepared(ws, prepared, is_plain)
    training = replace(training, config={**training.config, **later})
    return training, prepared.engine, prepared.disk_bytes


def _show(
    ws: Workspace,
    engine: Engine,
    training: Training,
    gpus: Gpus | None,
    disk: int,
    asks: tuple[str, ...],
    as_json: bool,
) -> None:
    """`asks`: for the "fastest" settings, for the "sharing" among GPUs, for the "scale" of 1 to 64 of them."""
    from rlguide.console import show, show_json
    from rlguide.errors import RlguideError
    from rlguide.planner.plan import Plan, plan_all
    from rlguide.planner.report import fastest, lines, smallest_fix, values
    from rlguide.planner.scale import scale, scale_lines
    from rlguide.planner.sharing import choose

    (plan,) = plan_all(ws, engine, [training], gpus)
    if not isinstance(plan, Plan):
        raise RlguideError(
            f"this training cannot be planned: {plan}",
            "see what a few steps take: `rlguide train` with the same options and --set max_steps=5",
        )
    chosen = choose(ws, engine, plan) if "sharing" in asks else None
    plan = chosen.plan if chosen is not None else plan
    found = values(plan, disk)
    if chosen is not None:
        found["sharing_why"] = chosen.why
    if plan.fits is False:
        found["fix"] = smallest_fix(ws, engine, plan)
    if "fastest" in asks:
        found["fastest"] = fastest(ws, engine, plan)
    if "scale" in asks:
        found["scale"] = scale(plan, ws.root) if plan.gpus is not None else []
    if as_json:
        show_json(found)
        return
    for line in (*lines(found), *(scale_lines(plan, found["scale"]) if "scale" in found else ())):
        show(line)
