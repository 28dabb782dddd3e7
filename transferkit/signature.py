"""The options of a run as keyword arguments of a function: what a notebook completes and `help` shows."""

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import TypeVar

from transferkit.options import DECLARED, Options, default_of, kind_of

Function = TypeVar("Function", bound=Callable)


def with_options(**help: str) -> Callable[[Function], Function]:
    """A decorator of a function that takes `**options`: each of them stands in its signature and its docstring.

    Args: help, of options that tables above the ground floor know more of than their declaration.
    """
    return functools.partial(_declare, help)


def _declare(help: dict[str, str], function: Function) -> Function:
    declared = inspect.signature(function)
    kept = [each for each in declared.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    kinds = typing.get_type_hints(Options)
    added = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=kinds[field.name]
        )
        for field in dataclasses.fields(Options)
        if field.name in DECLARED and field.name not in declared.parameters
    ]
    function.__signature__ = declared.replace(parameters=[*kept, *added])
    lines = [_line(each.name, help.get(each.name, DECLARED[each.name].help)) for each in added]
    function.__doc__ = inspect.cleandoc(function.__doc__ or "") + "\n\nOptions:\n" + "\n".join(lines)
    return function


def _line(name: str, help: str) -> str:
    words = default_words(name)
    return f"  {name}: {help}" + (f" Default: {words}." if words else "")


def default_words(name: str) -> str:
    """The default as a person reads it: the value, or the rule; "" for a flag, and where there is none."""
    default = default_of(name)
    if default is None or kind_of(name) is bool:
        return DECLARED[name].rule
    return f"{default:g}" if isinstance(default, float) else str(default)
