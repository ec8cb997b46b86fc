"""The command line: one file a command; each parses, calls one function and prints."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from rlguide.cli import (
    chat_cmd,
    checkpoints_cmd,
    configure_cmd,
    demo_cmd,
    doctor_cmd,
    download_cmd,
    eval_cmd,
    list_cmd,
    register_cmd,
    train_cmd,
)

app = typer.Typer(
    name="rlguide",
    help="From an SFT checkpoint to a preference-tuned model you can trust, on top of LLaMA-Factory.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: the Rich one costs as much time again as all of typer and rich
    context_settings={"help_option_names": ["-h", "--help"]},
)

# In the order of the journey, which is the order of `rlguide --help`.
for command in (
    list_cmd,
    download_cmd,
    register_cmd,
    checkpoints_cmd,
    configure_cmd,
    train_cmd,
    eval_cmd,
    chat_cmd,
    doctor_cmd,
    demo_cmd,
):
    command.register(app)


def _print_version(value: bool) -> None:
    if value:
        from rlguide import __version__

        sys.stdout.write(f"rlguide {__version__}\n")
        raise typer.Exit()


@app.callback()
def _root(
    debug: bool = typer.Option(False, "--debug", help="Show the full traceback of an error."),
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Options that stand before the command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    from rlguide.errors import RlguideError

    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        result = app(args=arguments, standalone_mode=True)
        return int(result or 0)
    except RlguideError as error:
        if "--debug" in arguments:
            raise
        from rlguide.console import console

        err = console(stderr=True)
        err.print(f"error: {error.what}", style="bold red", markup=False)
        err.print(f"  fix: {error.todo}", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:  # `rlguide list | head`
        sys.stderr.close()
        return 0
