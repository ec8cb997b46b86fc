"""The command line: one file a command; each parses, calls one function and prints."""

from __future__ import annotations

import atexit
import gc
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from rlguide.errors import RlguideError

# In the order of the journey, which is the order of `rlguide --help`; command X is `command` in X_cmd.py, of data in
# data/X_cmd.py, on runs in runs/X_cmd.py. The words are those of the overview, short enough for 80 columns.
COMMANDS = {
    "list": "Preference datasets: the catalog and your own.",
    "download": "Fetch, check and register datasets from the hub.",
    "register": "Check and register your own data.",
    "inspect": "What is in a dataset, and what is wrong with it.",
    "show": "A stored row as a conversation.",
    "view": "Register pairs for SFT, KTO or PPO, too.",
    "rename": "Give a dataset another name.",
    "remove": "Remove a dataset from the workspace.",
    "checkpoints": "Checkpoints under saves/, newest marked.",
    "methods": "Compare the methods: needs, cost, strengths.",
    "explain": "What a method or a key does, and its range.",
    "recipes": "Ready configs for known models and GPUs.",
    "configure": "Write a commented config to own and edit.",
    "plan": "Will it fit, and how long will it take.",
    "train": "Train on preferences; resume; another round.",
    "launch": "Train on several nodes over ssh.",
    "sweep": "Many trainings: a grid or a search, the winner.",
    "runs": "List, compare and remove runs.",
    "stop": "End a training, as Ctrl-C does.",
    "watch": "Curves, time left and diagnosis of a run.",
    "eval": "Evaluate on held-out pairs.",
    "score": "A reward on every row of a file.",
    "compare": "Models side by side on the same prompts.",
    "report": "A run as one page: verdict, curves, settings.",
    "chat": "Chat with the trained policy, whole stack.",
    "serve": "The trained policy behind OpenAI's API.",
    "export": "Merge a run's stack into one model.",
    "doctor": "What works on this host, what does not.",
    "engine": "Install LLaMA-Factory; list what each can train.",
    "demo": "The whole journey in minutes, no GPU needed.",
}

# The folder of a command's file, if it is not cli/ itself.
_FOLDERS = {
    **dict.fromkeys(("list", "download", "register", "inspect", "show", "view", "rename", "remove"), "data."),
    **dict.fromkeys(("runs", "stop", "watch", "report"), "runs."),
    **dict.fromkeys(("chat", "compare", "score", "serve", "export"), "models."),
    **dict.fromkeys(("launch", "sweep"), "launching."),
}


class _Frugal:
    """A command that converts only arguments that need it.

    From typer 0.29 on pydantic converts each, even a default, and importing it takes longer than typer and rich do.
    """

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, as ever; typer asks for them before it converts."""
        parameters: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for parameter in parameters:
            if hasattr(parameter, "type_descriptor") and "process_value" not in vars(parameter):
                parameter.process_value = _convert_if_needed(parameter)
        return parameters


def _convert_if_needed(parameter: Any) -> Callable[[Any, Any], Any]:
    convert = parameter.process_value
    is_single = not parameter.multiple and parameter.nargs == 1

    def process(ctx: Any, value: Any) -> Any:
        kind = parameter.type_descriptor.annotation
        fits = (value is None and not parameter.required) or (isinstance(kind, type) and isinstance(value, kind))
        if not (is_single and fits):
            return convert(ctx, value)
        return parameter.callback(ctx, parameter, value) if parameter.callback else value

    return process


class _InOrder(_Frugal, TyperGroup):
    """Lists the commands as they stand above; typer would put those that have subcommands first."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Names in the order of COMMANDS."""
        return [name for name in COMMANDS if name in self.commands]


def _print_version(value: bool) -> None:
    if value:
        from rlguide import __version__

        sys.stdout.write(f"rlguide {__version__}\n")
        raise typer.Exit()


def _root(
    debug: bool = typer.Option(False, "--debug", help="Show the full traceback of an error."),
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Options that stand before the command."""


def build_app(commands: Iterable[str] = COMMANDS, is_overview: bool = False) -> typer.Typer:
    """The Typer app with these commands. One command alone is built in a fraction of the time of all.

    `is_overview`: only their names and what they do, for the help of the whole.
    """
    app = typer.Typer(
        name="rlguide",
        cls=_InOrder,
        help="From an SFT checkpoint to a preference-tuned model you can trust, on top of LLaMA-Factory.",
        no_args_is_help=True,
        add_completion=commands is COMMANDS or _is_completing(),  # its options stand before any command
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # plain help: the Rich one costs as much time again as all of typer and rich
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in commands:
        if is_overview:
            app.command(name, short_help=COMMANDS[name])(lambda: None)
        else:
            add_command(app, name)
    return app


def add_command(app: typer.Typer, name: str) -> None:
    """Add a command: a function, or an app of subcommands. A class `Command` beside it makes what typer makes of it."""
    module = import_module(f"rlguide.cli.{_FOLDERS.get(name, '')}{name}_cmd")
    if isinstance(module.command, typer.Typer):
        app.add_typer(module.command, name=name, short_help=COMMANDS[name])
    else:
        kind = getattr(module, "Command", TyperCommand)
        app.command(name, cls=type(kind.__name__, (_Frugal, kind), {}), short_help=COMMANDS[name])(module.command)


def _is_completing() -> bool:
    """Whether a shell asks how its line could go on."""
    from rlguide.cli._complete import VARIABLE

    return VARIABLE in os.environ


def _needed(arguments: Sequence[str]) -> Iterable[str]:
    """Only the command that is called, if that is plain; all for help and mistakes."""
    first = next(iter(arguments), "")
    return (first,) if first in COMMANDS else COMMANDS


def _interrupt(number: int, frame: FrameType | None) -> None:
    """`kill` stops a command, and what it started, as Ctrl-C does."""
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    from rlguide.console import guard_streams, show_error, silence

    signal.signal(signal.SIGTERM, _interrupt)
    atexit.register(gc.freeze)  # or Python looks for cycles in all that was loaded once more: 0.05 s for nothing
    guard_streams()
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            return _run([argument for argument in given if argument != "--debug"])  # allowed anywhere
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except SystemExit as end:  # typer makes one of Ctrl-C, without a word
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            sys.stderr.write("interrupted\n")
        raise
    except Exception as error:
        if "--debug" in given:
            raise
        said = _in_words(error)
        show_error(said.what, said.fix)
        try:
            sys.stdout.flush()
        except OSError:  # it is stdout that cannot be written, and Python would try again at its end
            silence(1)
        return said.exit_code


def _run(arguments: list[str]) -> int:
    if _is_completing():
        return _answer_shell()
    is_overview = set(arguments) <= {"--help", "-h"}
    return int(build_app(_needed(arguments), is_overview)(args=arguments, standalone_mode=True) or 0)


def _answer_shell() -> int:
    """Answer a shell that completes a line; whatever goes wrong, nothing is said, as it would stand within the line."""
    from rlguide.cli._complete import words_so_far
    from rlguide.console import silence

    silence(2)
    words = words_so_far()
    is_overview = not words or words[0] not in COMMANDS  # it is the command that is completed
    try:
        return int(build_app(_needed(words), is_overview)(standalone_mode=True) or 0)
    except Exception:
        return 1


# What pathlib raises for a name that no file can have, beside OSError.
_OF_A_PATH = ("Symlink loop", "Could not determine home", "embedded null")


def _in_words(error: Exception) -> RlguideError:
    """Any error as one with a fix: what the system says of a file, and what nobody foresaw, are in two lines, too."""
    from rlguide.errors import RlguideError

    if isinstance(error, RlguideError):
        return error
    if isinstance(error, UnicodeEncodeError):
        return RlguideError(
            f"the encoding {error.encoding} has no {error.object[error.start]!r}, which is in a name or a value",
            "set a UTF-8 locale (export LC_ALL=C.UTF-8 PYTHONUTF8=1), then run the same command again",
        )
    if isinstance(error, OSError) or str(error).startswith(_OF_A_PATH):
        file = getattr(error, "filename", None)
        return RlguideError(
            f"{'' if file is None else f'{file}: '}{getattr(error, 'strerror', None) or error}",
            "check that path, its permissions and the space on its disk, then run the same command again",
        )
    return RlguideError(
        f"unexpected {type(error).__name__}: {error}",
        "run the same command with --debug, and report what it prints; one of the files it reads may be damaged",
    )
