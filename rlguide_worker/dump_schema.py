"""Print LLaMA-Factory's argument table as one JSON document (last line of stdout).

{"fields": {key: {"group", "kinds", "choices", "default", "help"}}, "templates": [...], "model_templates": {...}}
`kinds` are JSON kinds: bool, int, float, str, list, dict, none; empty means anything goes.
"""

import contextlib
import dataclasses
import enum
import json
import sys
import types
import typing

import few_imports

SIMPLE = {
    bool: "bool",
    int: "int",
    float: "float",
    str: "str",
    list: "list",
    dict: "dict",
    type(None): "none",
}


def describe(hint: typing.Any) -> tuple[set, list]:
    """Kinds and choices of a type hint; an unknown hint gives the kind 'any'."""
    if hint in SIMPLE:
        return {SIMPLE[hint]}, []
    origin = typing.get_origin(hint)
    if origin is typing.Literal:
        values = list(typing.get_args(hint))
        return {SIMPLE.get(type(value), "any") for value in values}, values
    if origin in (typing.Union, types.UnionType):
        kinds, choices = set(), []
        for part in typing.get_args(hint):
            more_kinds, more_choices = describe(part)
            kinds |= more_kinds
            choices += more_choices
        return kinds, choices
    if origin in SIMPLE:
        return {SIMPLE[origin]}, []
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"str"}, [member.value for member in hint]
    return {"any"}, []


def describe_fields(group: type) -> dict:
    """The fields of one argument dataclass that a config may set."""
    hints = typing.get_type_hints(group)
    table = {}
    for field in dataclasses.fields(group):
        if not field.init:
            continue
        kinds, choices = describe(hints.get(field.name, typing.Any))
        default = field.default
        if default is dataclasses.MISSING:
            default = field.default_factory() if field.default_factory is not dataclasses.MISSING else None
        if isinstance(default, enum.Enum):
            default = default.value
        if default is None:
            kinds.add("none")
        choices = list(field.metadata.get("choices") or choices)
        table[field.name] = {
            "group": group.__name__,
            "kinds": [] if "any" in kinds else sorted(kinds),
            "choices": [choice.value if isinstance(choice, enum.Enum) else choice for choice in choices],
            "default": default
            if isinstance(default, (bool, int, float, str, list, dict, type(None)))
            else str(default),
            "help": " ".join(str(field.metadata.get("help", "")).split()),
        }
    return table


def main() -> None:
    """Import the engine with stdout turned to stderr, then print the table on the real stdout."""
    few_imports.leave_out_most()

    with contextlib.redirect_stdout(sys.stderr):
        from llamafactory import hparams
        from llamafactory.data.template import TEMPLATES
        from llamafactory.extras.constants import DEFAULT_TEMPLATE

        groups = (
            "ModelArguments",
            "DataArguments",
            "TrainingArguments",
            "FinetuningArguments",
            "GeneratingArguments",
        )
        fields: dict = {}
        for name in groups:
            for key, value in describe_fields(getattr(hparams, name)).items():
                fields.setdefault(key, value)
    document = {"fields": fields, "templates": sorted(TEMPLATES), "model_templates": dict(DEFAULT_TEMPLATE)}
    print(json.dumps(document))


if __name__ == "__main__":
    main()
