"""A record's fields as a command's options, so that commands share them by naming the record."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial, wraps
from typing import Annotated, Any, get_type_hints

from typer.models import OptionInfo


def spread(
    record: type[Any],
    options: Mapping[str, OptionInfo],
    types: Mapping[str, Any],
    build: Callable[[dict[str, Any]], Any] | None = None,
    without: tuple[str, ...] = (),
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator: the command's parameter of type `record` becomes an option for each of its fields.

    Args:
        record: a dataclass of which each field has a default; a field that is such a record itself is spread, too.
        options: the Typer option of each field, by the field's name, in the order in which they appear.
        types: what Typer reads for a field, where that is not the type of the field.
        build: makes the record from the values of the options that were given; by default as the fields have them.
        without: fields that this command does not offer.

    Raises:
        ValueError: a field has no option, or an option has no field.
    """
    known = {name: (types.get(name, kind), default) for name, kind, default in _leaves(record())}
    if options.keys() != known.keys():
        raise ValueError(f"only fields or only options: {sorted(options.keys() ^ known.keys())}")
    make = build or partial(_filled, record())
    names = [name for name in options if name not in without]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        [slot] = [name for name, hint in hints.items() if hint is record]
        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            if parameter.name == slot:
                parameters += [_option(name, options[name], *known[name]) for name in names]
            else:
                kind = inspect.Parameter.KEYWORD_ONLY
                parameters.append(parameter.replace(annotation=hints[parameter.name], kind=kind))

        @wraps(command)
        def call(**values: Any) -> None:
            given = {name: value for name in names if (value := values.pop(name)) is not None}
            command(**values, **{slot: make(given)})

        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return call

    return decorate


def _leaves(record: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of each field, of the records in it, too."""
    hints = get_type_hints(type(record))
    for field in fields(record):
        value = getattr(record, field.name)
        if is_dataclass(value):
            yield from _leaves(value)
        else:
            yield field.name, hints[field.name], value


def _option(name: str, info: OptionInfo, kind: Any, default: Any) -> inspect.Parameter:
    default = default if isinstance(default, bool | int | float | str) else None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def _filled(record: Any, given: dict[str, Any]) -> Any:
    values: dict[str, Any] = {}
    for field in fields(record):
        default = getattr(record, field.name)
        if is_dataclass(default):
            values[field.name] = _filled(default, given)
        else:
            value = given.get(field.name, default)
            values[field.name] = tuple(value) if isinstance(default, tuple) else value
    return replace(record, **values)
