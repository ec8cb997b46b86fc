"""`rlguide engine`: which engines there are and what each can train; install the one for PPO."""

from __future__ import annotations

from typing import Annotated

import typer

from rlguide.cli._options import EngineOption, JsonOption

app = typer.Typer(
    help="""List the engines and what each can train, or install the one for PPO.

    \b
    rlguide engine list
    rlguide engine install ppo
    """,
    no_args_is_help=True,
    rich_markup_mode=None,
)


def register(parent: typer.Typer) -> None:
    """Add the command to the app."""
    parent.add_typer(app, name="engine")


@app.command("list", short_help="The engines, and what each can train.")
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
                        for item in (abilities(row.engine.versions, method_choices()) if row.engine else [])
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
        for item in abilities(row.engine.versions, method_choices()):
            if item.limitation is not None and (item.limitation.is_silent or item.limitation.engine):
                show(f"{'':<6}not {item.method}{f' {item.loss}' if item.loss else ''}: {item.limitation.what}")
    if rows[0].engine is not None and rows[-1].engine is not None:
        say("`rlguide train` picks the engine that can do the method")


@app.command("install", short_help="Install one beside the main engine.")
def install_engine(
    name: Annotated[str, typer.Argument(help="Which engine: ppo.", metavar="NAME")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before it starts.")] = False,
    engine: EngineOption = None,
) -> None:
    """Install an engine beside the main one, on the same torch; the main one stays untouched.

    \b
    rlguide engine install ppo
    rlguide engine install ppo --yes

    It goes to ~/.local/share/rlguide/engines (XDG_DATA_HOME moves it). An installation that was cut off goes on
    where it stopped when the command is run again.
    """
    from rlguide.catalog.methods import method_choices
    from rlguide.console import say
    from rlguide.engine.capabilities import summary
    from rlguide.engine.find import find_engine
    from rlguide.engine.install import estimate_seconds, install, is_interactive, plan_install
    from rlguide.engine.install import read_requirements as check_name
    from rlguide.engine.installed import installed

    check_name(name)
    ready = installed(name)
    if ready is None:
        plan = plan_install(find_engine(engine), name)
        say(f"the engine {name!r}: {', '.join(item.pin for item in plan.own)}")
        shared = f"torch {plan.shared['torch']} and the rest are shared with {plan.folders[0]}"
        say(f"{plan.fetch_mb:.0f} MB to fetch, {plan.disk_mb:.0f} MB on disk in {plan.folder}; {shared}")
        say(f"takes about {estimate_seconds(plan):.0f} s (at 5 MB/s)")
        if not yes:
            if not is_interactive():
                from rlguide.errors import UsageError

                raise UsageError(
                    "nobody can be asked: this is not a terminal",
                    f"agree beforehand: rlguide engine install {name} --yes",
                )
            if not typer.confirm("install it?", default=True, err=True):
                raise typer.Exit(1)
        ready = install(plan)
    say(f"ready: {ready.python}; trains {summary(ready.versions, method_choices())}")
