"""Whether options have the kinds that a dataclass declares: a file, or a caller, may give anything."""

import reprlib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from transferkit.zoo.errors import UsageError

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "nothing"}
LARGEST = 2**63 - 1

Value = TypeVar("Value")


def check(values: Mapping[str, Any], kinds: type, *, option: str = "--{}") -> None:
    """Raise UsageError, naming option, value and what is allowed, where a value is not of its field's kind.

    A whole number is a fine number; true and false are none, and neither are NaN and infinity.

    Args: kinds, a dataclass whose fields the values are for; option, how one is written.
    """
    import msgspec

    declared = typing.get_type_hints(kinds)
    for name, value in values.items():
        shown = option.format(name.replace("_", "-") if option.startswith("--") else name)
        try:
            msgspec.convert(value, declared[name])
            _check_numbers(value)
        except (msgspec.ValidationError, RecursionError, ValueError) as error:
            raise UsageError(
                f"{shown} {reprlib.repr(value)} is of the wrong kind; allowed: {_words(declared[name])}"
            ) from error


def plain(value: Any) -> Any:
    """A path as text, a number of NumPy as one of Python's, anything else as it is."""
    if isinstance(value, Path):
        return str(value)
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value


def present(value: Value | None) -> Value:
    """`value`, where what was decided before says that it is there. Raises: TypeError for None."""
    if value is None:
        raise TypeError("nothing is here where a value was promised")
    return value


def _check_numbers(value: Any) -> None:
    """Raise ValueError for a number that is none, or that no computation here takes."""
    if isinstance(value, (int, float)) and not abs(value) <= LARGEST:  # NaN is not
        raise ValueError(value)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        _check_numbers(part)


def _words(kind: Any) -> str:
    parts = typing.get_args(kind) if type(None) in typing.get_args(kind) else (kind,)
    return " or ".join(WORDS.get(part, str(part)) for part in parts)
