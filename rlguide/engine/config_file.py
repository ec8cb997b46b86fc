"""Read a config as LLaMA-Factory reads it, and the values of `--set`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlguide.errors import DataError, UsageError
from rlguide.workspace import read_text

if TYPE_CHECKING:
    import yaml

TOO_MANY_DIGITS = "a number has too many digits"


def split_names(value: Any) -> list[str]:
    """Names in a comma-separated value, as LLaMA-Factory splits it."""
    return [name.strip() for name in str(value).split(",") if name.strip()] if value else []


# LLaMA-Factory reads YAML through OmegaConf, which takes 5e-6 as a number; plain PyYAML (YAML 1.1) takes it as text.
_FLOAT = re.compile(
    r"""^(?:[-+]?(?:[0-9][0-9_]*)\.[0-9_]*(?:[eE][-+]?[0-9]+)?
    |[-+]?(?:[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)
    |\.[0-9_]+(?:[eE][-+][0-9]+)?
    |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)

_WORDS = ("yes", "no", "on", "off")  # booleans in YAML 1.1, text to anyone who types them


@cache
def _loader() -> type[yaml.SafeLoader]:
    import yaml

    class Loader(yaml.SafeLoader):
        """SafeLoader with OmegaConf's numbers, no dates, and no key twice."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            seen = set()
            for key_node, _ in node.value:
                if key_node.tag == "tag:yaml.org,2002:merge":
                    continue
                key = self.construct_object(key_node, deep=True)
                if not isinstance(key, Hashable):
                    raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} is given twice", key_node.start_mark
                    )
                seen.add(key)
            return super().construct_mapping(node, deep)

    Loader.yaml_implicit_resolvers = {
        first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))
    return Loader


_MOST_VALUES = 100_000  # a config has some hundred; aliases of aliases make millions of a few lines
_WHOLE_NUMBERS = range(-(10**300), 10**300)  # beyond them no float can follow


def parse_yaml(text: str) -> Any:
    """Parse YAML with OmegaConf's idea of numbers. Raises yaml.YAMLError, also for what no config can hold."""
    import yaml

    loader = None
    try:
        loader = _loader()(text)
        value = loader.get_single_data()
    except yaml.YAMLError:
        raise
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:  # `!!int abc`, for one
        raise yaml.YAMLError(f"a value cannot be read ({error})") from None
    finally:
        if loader is not None:
            loader.dispose()
    _check_plain(value)
    return value


def _check_plain(value: Any) -> None:
    """Raises yaml.YAMLError for values that JSON has not, numbers that no setting can be, and endless structures."""
    import yaml

    waiting, count = [value], 0
    while waiting:
        item = waiting.pop()
        count += 1
        if count > _MOST_VALUES:
            raise yaml.YAMLError("it holds too many values, or itself")
        if isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            waiting += item
        elif isinstance(item, int) and item not in _WHOLE_NUMBERS:
            raise yaml.YAMLError(TOO_MANY_DIGITS)
        elif not isinstance(item, str | int | float | None):
            raise yaml.YAMLError(f"it holds a {type(item).__name__}, and a config holds text, numbers and lists")


def load_config(path: Path) -> dict[str, Any]:
    """Read a LLaMA-Factory config: a flat YAML mapping.

    Raises:
        UsageError: the file does not exist.
        DataError: not a file, not YAML, not a mapping, or a key twice; the message has the line.
    """
    import yaml

    if not os.path.lexists(path):
        raise UsageError(f"the config {path} does not exist", "make one with `rlguide configure --sft-ckpt latest`")
    try:
        value = parse_yaml(read_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise DataError(
            f"{path} is not valid YAML{where}: {problem}", "fix that line; each line is `key: value`"
        ) from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise DataError(
            f"{path} is not a config: it must be lines of `key: value`", "compare it with configs/dpo_config.yaml"
        )
    return value


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """The values of repeated `--set KEY=VALUE`; VALUE is read as YAML (`1e-6`, `true`, `null`, text).

    Only `true` and `false` are booleans here: `--set eval_strategy=no` means the text "no".

    Raises:
        UsageError: no `=`, no key, or a value that is not YAML.
    """
    import yaml

    values: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(
                f"--set {setting} has no value", "write --set KEY=VALUE, for example --set learning_rate=1e-6"
            )
        try:
            values[key] = text.strip() if text.strip().lower() in _WORDS else parse_yaml(text)
        except yaml.YAMLError as error:
            shown = setting if len(setting) <= 80 else f"{setting[:60]}..."
            if TOO_MANY_DIGITS in str(error):
                raise UsageError(f"--set {shown}: larger than any training can use", f"set {key} smaller") from None
            raise UsageError(
                f"--set {shown}: the value cannot be read", f"if it is text, put it in quotes: --set '{key}=\"...\"'"
            ) from None
    return values


def format_config(values: Mapping[str, Any]) -> dict[str, str]:
    """Each key of a config with its line, `key: value`."""
    return {key: f"{format_value(key)}: {format_value(value)}" for key, value in values.items()}


def format_value(value: Any) -> str:
    """`value` as YAML that PyYAML and OmegaConf read alike: 5.0e-06, not 5e-06, which YAML 1.1 takes as text."""
    import yaml

    if isinstance(value, float):
        mantissa, e, exponent = repr(value).partition("e")
        if not e:
            return mantissa.replace("inf", ".inf").replace("nan", ".nan")
        return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{int(exponent):+d}"
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    dumped: str = yaml.safe_dump(value, allow_unicode=True, width=10_000).removesuffix("\n").removesuffix("\n...")
    # A text that only OmegaConf takes for a number ("5e-6") needs quotes too.
    return dumped if parse_yaml(dumped) == value else json.dumps(value, ensure_ascii=False)
