"""`rlguide engine`: which engines there are and what each can train; install and remove them."""

from __future__ import annotations

from typing import Annotated

import typer

from rlguide.cli._options import EngineOption, JsonOption, agree

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it starts.")]

command = typer.Typer(
    help="""List the engines and what each can train; install or remove them.

    \b
    rlguide engine list
    rlguide engine install
    rlguide engine install ppo
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@command.command("list", short_help="The engines, and what each can train.")
def list_engines(engine: EngineOption = None, as_json: JsonOption = False) -> None:
    """List the engines, their versions, and what each can train.

    \b
    rlguide engine list
    rlguide engine list --json
    """
    from rlguide.catalog.methods import method_choices
    from rlguide.console import say, show, show_json
    from rlguide.engine.capabilities import abilities, summary
    from rlguide.engine.installed import known_engines

    rows = known_engines(engine)
    if as_json:
        show_json(
            [
                {
                    "name": row.name,
                    "python": row.engine and row.engine.python,
                    "versions": row.engine.versions if row.engine else {},
                    "trouble": row.trouble,
                    "fix": row.fix,
                    "abilities": [
                        {
                            "method": item.method,
                            "loss": item.loss,
                            "can": item.limitation is None,
                            "lack": item.limitation and item.limitation.what,
                            "silent": item.limitation is not None and item.limitation.is_silent,
                            "fix": item.limitation and item.limitation.fix,
                            "source": item.limitation and item.limitation.source,
                        }
                        for item in (
                            abilities(row.engine.versions, method_choices(), row.engine.python) if row.engine else []
                        )
                    ],
                }
                for row in rows
            ]
        )
        return
    for row in rows:
        if row.engine is None:
            show(f"{row.name:<6}{row.trouble}\n{'':<6}fix: {row.fix}")
            continue
        names = ("llamafactory", "trl", "transformers", "peft", "torch")
        versions = ", ".join(f"{name} {row.engine.versions.get(name, '(missing)')}" for name in names)
        show(f"{row.name:<6}{versions}\n{'':<6}at {row.engine.python}")
        show(f"{'':<6}trains {summary(row.engine.versions, method_choices())}")
        for item in abilities(row.engine.versions, method_choices(), row.engine.python):
            if item.limitation is not None and (item.limitation.is_silent or item.limitation.engine):
                show(f"{'':<6}not {item.method}{f' {item.loss}' if item.loss else ''}: {item.limitation.what}")
    if rows[0].engine is not None and rows[-1].engine is not None:
        say("`rlguide train` picks the engine that can do the method")


@command.command("install", short_help="Install the main engine, or the one for PPO.")
def install_engine(
    name: Annotated[str, typer.Argument(help="Which engine: main or ppo.", metavar="NAME")] = "main",
    yes: YesOption = False,
    python: Annotated[
        str | None, typer.Option(help="The Python 3.11 to make the main engine with, if another than is found.")
    ] = None,
    torch_index: Annotated[
        str | None,
        typer.Option(
            help="One more package index for the main engine's torch: a build for the CPU only or for an older CUDA.",
            metavar="URL",
        ),
    ] = None,
    engine: EngineOption = None,
) -> None:
    """Install an engine in an environment of its own.

    \b
    rlguide engine install          LLaMA-Factory with everything it needs (main); found by itself afterwards
    rlguide engine install ppo      the engine for PPO, on the same torch; the main one stays untouched

    It goes to ~/.local/share/rlguide/engines (XDG_DATA_HOME moves it). An installation that was cut off resumes
    where it stopped when the command is run again. The torch of the usual package index runs on the CPU and on CUDA
    13; the page "Get Started" of PyTorch names the index of each other build, for --torch-index.
    """
    from rlguide.catalog.methods import method_choices
    from rlguide.console import say
    from rlguide.engine.capabilities import summary
    from rlguide.engine.find import find_engine
    from rlguide.engine.install import install
    from rlguide.engine.install_plan import check_name, plan_beside, plan_main
    from rlguide.engine.state import MAIN
    from rlguide.errors import UsageError

    check_name(name)
    if name != MAIN and (python or torch_index):
        raise UsageError(f"the engine {name!r} has the Python and the torch of the main one", "take the option out")
    plan = plan_main(python, torch_index) if name == MAIN else plan_beside(find_engine(engine), name)
    if not plan.is_done:
        say(f"the engine {name!r}: {', '.join(item.pin for item in plan.own)}")
        shared = f"torch {plan.shared['torch']} and the rest are shared with {plan.folders[0]}" if plan.shared else ""
        size = f"{plan.fetch_mb:,.0f} MB to fetch, {plan.disk_mb:,.0f} MB on disk in {plan.folder}"
        say(f"{size}; {shared or f'made with {plan.base}'}")
        say(f"takes about {_duration(plan.seconds)} (at 5 MB/s)")
        agree("install it?", yes, f"rlguide engine install {name} --yes")
    ready = install(plan)
    say(f"ready: {ready.python}; trains {summary(ready.versions, method_choices())}")
    if name == MAIN and (used := find_engine(engine)).python != ready.python:
        say(f"rlguide uses {used.python} before it; to use this one: export RLGUIDE_ENGINE={plan.folder}")


@command.command("remove", short_help="Remove an engine that rlguide installed.")
def remove_engine(
    name: Annotated[str, typer.Argument(help="Which engine: main or ppo.", metavar="NAME")],
    yes: YesOption = False,
) -> None:
    """Remove an engine that rlguide installed; no other environment is touched.

    \b
    rlguide engine remove ppo
    rlguide engine remove main --yes

    What pip fetched stays in its cache (`pip cache purge`), models and prepared datasets in HF_HOME.
    """
    from rlguide.console import say
    from rlguide.engine.install import remove
    from rlguide.engine.install_plan import check_name
    from rlguide.engine.installed import laid_over
    from rlguide.engine.state import engine_folder

    check_name(name)
    folder = engine_folder(name)
    if not folder.exists():
        say(f"the engine {name!r} is not installed: there is no {folder}")
        return
    for other in laid_over(folder):
        say(f"the engine {other!r} is laid over it, and does not work without it")
    agree(f"remove {folder}?", yes, f"rlguide engine remove {name} --yes")
    say(f"removed {folder}: {remove(name):,.0f} MB")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
