"""Spans of time as people write and read them."""

import re

from transferkit.zoo.errors import UsageError

SECONDS = {"s": 1, "m": 60, "h": 3600}
_PART = re.compile(r"(\d+(?:\.\d+)?)([smh])")


def seconds(text: str) -> float:
    """The seconds that a span such as 90s, 10m, 1.5h or 1h30m has.

    Raises: UsageError for anything else, and for none at all.

    >>> [seconds(text) for text in ("90s", "10m", "1.5h", "1h30m")]
    [90.0, 600.0, 5400.0, 5400.0]
    """
    parts = _PART.findall(text)
    found = sum(float(number) * SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not found:
        raise UsageError(f"{text!r} is no span of time; allowed: a number and s, m or h, as 90s, 10m, 1.5h or 1h30m")
    return found


def words(span: float) -> str:
    """Seconds as a person says them, to two digits.

    >>> [words(span) for span in (0.41, 7.26, 9.98, 89.7, 99.7, 200, 3000, 7000)]
    ['0.4 s', '7.3 s', '10 s', '90 s', '1.7 min', '3.3 min', '50 min', '1.9 h']
    """
    size, unit = (1, "s") if span < 99.5 else (60, "min") if span < 99.5 * 60 else (3600, "h")
    return f"{span / size:.{int(span / size < 9.95)}f} {unit}"
