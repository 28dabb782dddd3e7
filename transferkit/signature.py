"""The options of a run as keyword arguments of a function: what a notebook completes and `help` shows."""

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import TypeVar

from transferkit.options import DECLARED, Options, default_words

Function = TypeVar("Function", bound=Callable)


def with_options(function: Function) -> Function:
    """`function`, which takes `**options`, with each of them in its signature and its docstring."""
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
    lines = [_line(each.name) for each in added]
    function.__doc__ = inspect.cleandoc(function.__doc__ or "") + "\n\nOptions:\n" + "\n".join(lines)
    return function


def _line(name: str) -> str:
    words = default_words(name)
    return f"  {name}: {DECLARED[name].help}" + (f" Default: {words}." if words else "")
