"""A record's fields as a command's options, so that commands share them by naming the record."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from typing import Annotated, Any, get_type_hints

from typer.models import OptionInfo

Options = Mapping[str, tuple[Any, OptionInfo]]


def spread(
    record: type[Any], options: Options, build: Callable[[dict[str, Any]], Any], without: tuple[str, ...] = ()
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator: the command's parameter of type `record` becomes an option for each of its fields.

    Args:
        options: type and Typer option of each field, by the field's name; they appear in the order of the fields.
        build: makes the record from the values of the options that were given.
        without: fields that this command does not offer.
    """
    names = [item.name for item in fields(record) if item.name not in without]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        [slot] = [name for name, hint in hints.items() if hint is record]
        parameters = []
        for parameter in inspect.signature(command).parameters.values():
            if parameter.name == slot:
                parameters += [_option(name, *options[name]) for name in names]
            else:
                kind = inspect.Parameter.KEYWORD_ONLY
                parameters.append(parameter.replace(annotation=hints[parameter.name], kind=kind))

        @wraps(command)
        def call(**values: Any) -> None:
            given = {name: value for name in names if (value := values.pop(name)) is not None}
            command(**values, **{slot: build(given)})

        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return call

    return decorate


def option_name(info: OptionInfo) -> str:
    """The option's first name, which Typer keeps as the default of an option that stands in `Annotated`."""
    return str(info.default)


def _option(name: str, kind: Any, info: OptionInfo) -> inspect.Parameter:
    default = False if kind is bool else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])
